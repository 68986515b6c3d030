"""Measures who names emoji on white: neighbours, or models.

  python -m benchmarks.emoji --packages DIR [--models emoji-mini RUN ...]

Without models each of Fluent's emoji, which no model has seen, gets the concept
of the nearest one of Noto and Twemoji, by the distance of their pixels at
32 x 32 on white, and by that of their cells of oriented gradients at 64 x 64
(`nn.gradients`), with mean colours or without.

With models, the share of each vendor's emoji that a model names out of all
concepts, and what the walks to the root pass from the pictures of Noto that it
names. One concept in ten is never trained on; these are counted apart.
"""

import argparse
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image

import hyperclip_jax
from hyperclip_jax.data.emoji import concepts, generate, packages, scenes
from hyperclip_jax.data.emoji.concepts import Concept
from hyperclip_jax.inference import classify, walk
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.nn import gradients

VENDORS = (*generate.SEEN, generate.UNSEEN)
MARGIN = 0.06  # around the emoji that models see, as those of the font
PROMPTS = ("{}", "a {}")


class Emoji(NamedTuple):
  """Concepts, and their pictures by each vendor.

  Attributes:
    concepts: all that every vendor draws.
    data: bytes of the pictures by vendor and code.
  """

  concepts: list[Concept]
  data: Mapping[str, Mapping[str, bytes]]

  @classmethod
  def read(cls, folder: pathlib.Path) -> "Emoji":
    """Reads the packages of a folder."""
    paths = packages.find(folder)
    data = {name: packages.pictures(name, paths[name]) for name in VENDORS}
    table = packages.table(paths[generate.DRAWN])
    return cls(concepts.concepts(table, list(data.values())), data)


def pixels(data: bytes, side: int) -> np.ndarray:
  """Draws an emoji on white, in [0, 1]."""
  ground = scenes.on_white(scenes.picture(data))
  small = ground.resize((side, side), Image.Resampling.BOX)
  return np.asarray(small, np.float32) / 255


def right(name: str, rows: dict[str, np.ndarray], kinds: np.ndarray) -> None:
  """Prints how often the nearest neighbour is right.

  Args:
    name: what rows are.
    rows: a row for each concept, by vendor.
    kinds: subgroup of each concept.
  """
  new = rows[generate.UNSEEN].reshape(len(kinds), -1)
  known = np.concatenate([rows[vendor] for vendor in generate.SEEN])
  known = known.reshape(len(known), -1)
  far = (known**2).sum(axis=1)[None] - 2 * new @ known.T
  nearest = far.argmin(axis=1) % len(kinds)
  found = nearest == np.arange(len(kinds))
  print(
    f"{name}: the nearest neighbour is right for {found.mean():.1%}, and of "
    f"the right subgroup for {(kinds[nearest] == kinds).mean():.1%}"
  )


def neighbours(emoji: Emoji) -> None:
  """Prints the accuracy of nearest neighbours."""
  found, data = emoji
  kinds = np.array([c.subgroup for c in found])
  print(
    f"{len(found)} concepts, {len({*kinds.tolist()})} subgroups; chance "
    f"{1 / len(found):.2%}"
  )

  def drawn(side: int) -> dict[str, np.ndarray]:
    return {
      name: np.stack([pixels(data[name][c.code], side) for c in found])
      for name in VENDORS
    }

  right("pixels", drawn(32), kinds)
  cells = {
    name: np.asarray(gradients.cells(jnp.asarray(images)))
    for name, images in drawn(64).items()
  }
  turns = gradients.TURNS
  edges = {name: rows[..., :turns] for name, rows in cells.items()}
  right("oriented gradients", edges, kinds)
  right("oriented gradients and mean colours", cells, kinds)


def embed(model: HyperCLIP, emoji: Emoji, vendor: str) -> np.ndarray:
  """Embeds a vendor's pictures of all concepts, each on white."""
  files = [emoji.data[vendor][c.code] for c in emoji.concepts]
  return model.encode_image(
    [np.asarray(scenes.on_white(scenes.picture(f), MARGIN)) for f in files]
  )


def named(model: HyperCLIP, name: str, emoji: Emoji) -> None:
  """Prints which share of each vendor's emoji a model names."""
  labels = [c.name for c in emoji.concepts]
  held_out = np.array([c.held_out for c in emoji.concepts])
  classes = classify.class_embeddings(model, labels, PROMPTS)
  own = np.arange(len(labels))[:, None]
  for vendor in VENDORS:
    scores = model.similarity(embed(model, emoji, vendor), classes)
    hits = np.argsort(-scores, axis=1, kind="stable") == own
    first, five = hits[:, 0], hits[:, :5].any(axis=1)
    print(
      f"{name}: {vendor} top-1 {first.mean():.1%}, top-5 {five.mean():.1%}; "
      f"trained on {first[~held_out].mean():.1%}, {five[~held_out].mean():.1%};"
      f" of {held_out.sum()} never trained on {first[held_out].sum()}, "
      f"{five[held_out].sum()}"
    )


def walks(model: HyperCLIP, name: str, emoji: Emoji) -> None:
  """Prints what walks from pictures of Noto pass on the way to the root."""
  labels = [c.name for c in emoji.concepts]
  general = {word for c in emoji.concepts for word in c.above}
  words = [*dict.fromkeys((*labels, *sorted(general), concepts.ROOT))]
  index = model.index(model.encode_text(words), words)
  images = embed(model, emoji, generate.SEEN[0])
  scores = model.similarity(images, model.encode_text(labels))
  right = [i for i, best in enumerate(scores.argmax(axis=1)) if i == best]
  own = other = alone = 0
  for i in right:
    stops = walk.to_root(images[i], model.root, index)
    passed = {stop.name for stop in stops} & general
    right_ones = passed & {*emoji.concepts[i].above}
    own += bool(right_ones)
    other += passed != right_ones
    alone += bool(right_ones) and passed == right_ones
  print(
    f"{name}: of {len(right)} that it names, {own / len(right):.0%} pass a "
    f"word above their concept, {other / len(right):.0%} one that is not; "
    f"{alone / len(right):.0%} pass such words alone"
  )


def main() -> None:
  """Prints the accuracy of neighbours or of models."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--packages", type=pathlib.Path, required=True)
  parser.add_argument("--models", nargs="+", help="folders or names")
  options = parser.parse_args()
  emoji = Emoji.read(options.packages)
  if not options.models:
    neighbours(emoji)
  for source in options.models or ():
    model = hyperclip_jax.load(source)
    named(model, source, emoji)
    walks(model, source, emoji)


if __name__ == "__main__":
  main()
