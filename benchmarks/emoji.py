"""Measures how far neighbours come on emoji of a vendor that is not known.

  python -m benchmarks.emoji --packages DIR

Each of Fluent's emoji gets the concept of the nearest one of Noto and Twemoji,
by the distance of their pixels at 32 x 32 on white, and by that of their cells
of oriented gradients at 64 x 64 (`nn.gradients`), with mean colours or without.
The task `emoji` of `hyperclip evals` gives a model's accuracy on the same
concepts, of which it has not seen one in ten.
"""

import argparse
import pathlib

import jax.numpy as jnp
import numpy as np
from PIL import Image

from hyperclip_jax.data.emoji import concepts, generate, packages, scenes
from hyperclip_jax.nn import gradients


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


def main() -> None:
  """Prints the accuracy of nearest neighbours."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--packages", type=pathlib.Path, required=True)
  paths = packages.find(parser.parse_args().packages)
  vendors = (*generate.SEEN, generate.UNSEEN)
  data = {name: packages.pictures(name, paths[name]) for name in vendors}
  found = concepts.concepts(
    packages.table(paths[generate.DRAWN]), list(data.values())
  )
  kinds = np.array([c.subgroup for c in found])
  print(
    f"{len(found)} concepts, {len({*kinds.tolist()})} subgroups; chance "
    f"{1 / len(found):.2%}"
  )

  def drawn(side: int) -> dict[str, np.ndarray]:
    return {
      name: np.stack([pixels(data[name][c.code], side) for c in found])
      for name in vendors
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


if __name__ == "__main__":
  main()
