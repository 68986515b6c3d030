"""Concepts that emoji show: their names, keywords, and what is above them."""

import importlib.resources
import itertools
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from hyperclip_jax.data import synsets
from hyperclip_jax.data.emoji.packages import code
from hyperclip_jax.files import read_bytes, shown

GROUPS = frozenset(
  ("animals-nature", "food-drink", "travel-places", "activities", "objects")
)
ROOT = "thing"
STEP = 10  # one concept in ten is held out of training
LARGEST = 2**26  # bytes of a file of WordNet


class Concept(NamedTuple):
  """What an emoji shows.

  Attributes:
    code: its code points, as `packages.code` spells them.
    name: CLDR's short name, which no other concept has.
    keywords: CLDR's keywords.
    subgroup: CLDR's subgroup, such as "animal-mammal".
    above: words for what it is, the nearest first, from its subgroup on.
    wordnet: nouns of WordNet above its name, the nearest first; empty where
      WordNet was not given or has no such noun.
    held_out: whether it is kept out of training.
  """

  code: str
  name: str
  keywords: tuple[str, ...]
  subgroup: str
  above: tuple[str, ...]
  wordnet: tuple[str, ...]
  held_out: bool


def words() -> dict[str, tuple[str, ...]]:
  """Reads the words above the emoji of each subgroup, the nearest first."""
  assets = importlib.resources.files("hyperclip_jax.data.emoji") / "assets"
  lines = (assets / "words.tsv").read_text(encoding="utf-8").splitlines()
  rows = (line.split("\t") for line in lines if not line.startswith("#"))
  return {row[0]: tuple(row[1:]) for row in rows}


def concepts(
  table: Iterable[Mapping[str, str]],
  drawn: Iterable[Collection[str]],
  nouns: Mapping[str, tuple[str, ...]] | None = None,
) -> list[Concept]:
  """Lists the concrete concepts that all vendors draw.

  Args:
    table: rows of OpenMoji's table.
    drawn: codes of the emoji that each vendor draws.
    nouns: nouns of WordNet above each noun, from `hypernyms`.

  Returns:
    Concepts in the order of the table. Within each subgroup of ten or more,
    every tenth is held out.
  """
  above, sets = words(), [set(codes) for codes in drawn]
  found: list[Concept] = []
  counts: dict[str, int] = {}
  for row in table:
    at = code(row["hexcode"])
    if row["group"] not in GROUPS or row["skintone"]:
      continue
    if not all(at in codes for codes in sets):
      continue
    kind, name = row["subgroups"], row["annotation"]
    counts[kind] = number = counts.get(kind, 0) + 1
    keywords = (word.strip() for word in row["tags"].split(","))
    found.append(
      Concept(
        at,
        name,
        tuple(word for word in keywords if word and word != name),
        kind,
        above[kind],
        (nouns or {}).get(name.lower().replace(" ", "_"), ()),
        number % STEP == 0,
      )
    )
  return found


def hierarchy(found: Iterable[Concept]) -> dict[str, tuple[str, ...]]:
  """Makes the tree of CLDR's subgroups and groups, in words.

  Args:
    found: concepts, the leaves.

  Returns:
    Parents by node; the root "thing" has none.

  Raises:
    ValueError: a concept has the name of a node above another one.
  """
  parents: dict[str, tuple[str, ...]] = {ROOT: ()}
  for concept in found:
    path = (concept.name, *concept.above, ROOT)
    for node, parent in itertools.pairwise(path):
      if parents.setdefault(node, (parent,)) != (parent,):
        raise ValueError(f"{node!r} is above and below other concepts")
  return parents


def wordnet(found: Iterable[Concept]) -> dict[str, tuple[str, ...]]:
  """Makes the tree of WordNet's nouns above concepts that are nouns in it.

  Each node but a leaf is named "lemma (noun)", so that it is no leaf's name.

  Args:
    found: concepts.

  Returns:
    Parents by node, the first parent found of each; empty without WordNet.
  """
  parents: dict[str, tuple[str, ...]] = {}
  for concept in found:
    path = (concept.name, *(f"{noun} (noun)" for noun in concept.wordnet))
    for node, parent in itertools.pairwise(path):
      if node in parents:
        break
      parents[node] = (parent,)
    if len(path) > 1:
      parents.setdefault(path[-1], ())
  return parents


def hypernyms(folder: pathlib.Path) -> dict[str, tuple[str, ...]]:
  """Reads the nouns above each noun's first sense.

  Args:
    folder: folder of WordNet 3.0 with `index.noun` and `data.noun`, such as
      /usr/share/wordnet of Debian's package wordnet-base.

  Returns:
    Words above each noun by the first hypernym of each, the nearest first, to
    the root "entity"; nouns are spelled as in the index, "polar_bear".

  Raises:
    FileNotFoundError: a file is missing; the message names the package.
    ValueError: a file is not WordNet's.
  """
  try:
    data = read_bytes(folder / "data.noun", LARGEST)
    index = read_bytes(folder / "index.noun", LARGEST).decode("utf-8")
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"--wordnet={shown(folder)}: {shown(error.filename)} is missing; install "
      "Debian's wordnet-base, or give the folder of WordNet 3.0's `dict`"
    ) from None
  nodes = {synset.offset: synset for synset in synsets.every(data)}
  found = {}
  for line in index.split("\n"):
    if not line or line.startswith("  "):
      continue
    fields = line.split()
    # lemma, kind, count of senses, count of pointers, pointers, senses, tagged
    # senses, offsets; the first sense is the most frequent.
    offset = int(fields[-int(fields[2])])
    chain, at = [], nodes[offset]
    while at.above:
      at = nodes[at.above[0]]
      chain.append(at.lemmas[0].replace("_", " "))
    found[fields[0]] = tuple(chain)
  return found
