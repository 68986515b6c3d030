"""Captions of the embedded data set, with phrases of several levels."""

import random

from hyperclip_jax.data.embedded.draw import Thing
from hyperclip_jax.data.records.boxes import Box

FAMILIES = {
  "round shape": ("circle", "ring", "oval", "moon"),
  "block shape": ("square", "frame", "bar", "cross"),
  "pointed shape": ("triangle", "star", "diamond", "arrow"),
}
FAMILY = {shape: family for family in FAMILIES for shape in FAMILIES[family]}
# Relative frequencies of how specific a noun phrase is.
LEVELS = {"leaf": 60, "shape": 20, "family": 8, "colour": 8, "thing": 4}
OPENINGS = ("", "", "a picture of ", "a scene with ", "we see ")


class Caption:
  """A caption with its grounded phrases.

  Attributes:
    text: the caption.
    noun_chunks: rows [start, end, x1, y1, x2, y2, score] as in GRIT.
    ref_exps: rows of the referring expressions, likewise.
  """

  def __init__(self, rng: random.Random, things: list[Thing]):
    """Words a caption.

    Args:
      rng: random numbers of the scene.
      things: objects of the scene, each named once.
    """
    self.rng = rng
    self.article = rng.choices(("a", "the"), (3, 1))[0]
    self.text = rng.choice(OPENINGS)
    self.named: set[str] = set()
    self.noun_chunks: list[list[float]] = []
    self.ref_exps: list[list[float]] = []
    rest = list(things)
    while rest:
      self._clause(rest)
      if rest:
        self.text += " and " if len(rest) == 1 else ", "
    # A referring expression that fills the caption is dropped: the caption
    # cannot entail itself.
    self.ref_exps = [
      row for row in self.ref_exps if row[1] - row[0] < len(self.text)
    ]

  def _clause(self, rest: list[Thing]) -> None:
    """Names one object, and its place or its relation to the next one."""
    start, thing = len(self.text), rest.pop(0)
    self._name(thing)
    kind = self.rng.choices(("bare", "placed", "related"), (5, 2, 3))[0]
    if kind == "bare":
      return
    if kind == "related" and rest:
      self.text += f" {_relation(thing, rest[0])} "
      self._name(rest.pop(0))
    else:
      self.text += f" {_position(thing)}"
    self.ref_exps.append(_grounded(start, len(self.text), thing.box))

  def _name(self, thing: Thing) -> None:
    """Adds a noun phrase that is new to the caption."""
    level = self.rng.choices(list(LEVELS), list(LEVELS.values()))[0]
    phrase = self._phrase(thing, level)
    if phrase in self.named:
      phrase = self._phrase(thing, "leaf")  # leaves of a scene are distinct
    self.named.add(phrase)
    start = len(self.text)
    self.text += phrase
    self.noun_chunks.append(_grounded(start, len(self.text), thing.box))

  def _phrase(self, thing: Thing, level: str) -> str:
    anything = self.rng.choice(("thing", "shape"))
    noun = {
      "leaf": thing.shape,
      "shape": thing.shape,
      "family": FAMILY[thing.shape],
      "colour": anything,
      "thing": anything,
    }[level]
    words = [
      thing.size if self.rng.random() < 0.2 else "",
      thing.colour if level in ("leaf", "colour") else "",
      thing.texture if self.rng.random() < 0.2 else "",
      noun,
    ]
    phrase = " ".join(filter(None, words))
    vowel = self.article == "a" and phrase[0] in "aeiou"
    return f"{self.article}{'n' * vowel} {phrase}"


def _grounded(start: int, end: int, box: Box) -> list[float]:
  """Makes GRIT's [start, end, x1, y1, x2, y2, score], all of them floats."""
  return [float(start), float(end), *box, 1.0]


def _position(thing: Thing) -> str:
  x, y = thing.centre.real, thing.centre.imag
  column = "left" if x < 0.41 else "right" if x > 0.59 else ""
  row = "top" if y < 0.41 else "bottom" if y > 0.59 else ""
  if not row:
    return f"on the {column}" if column else "in the middle"
  return f"at the {row} {column}".rstrip()


def _relation(thing: Thing, other: Thing) -> str:
  gap = other.centre - thing.centre
  if abs(gap.real) > abs(gap.imag):
    return "left of" if gap.real > 0 else "right of"
  return "above" if gap.imag > 0 else "below"
