"""Measures how far raw pixels come on emoji of a vendor that is not known.

  python -m benchmarks.emoji --packages DIR

Each of Fluent's emoji gets the concept of the nearest one of Noto and Twemoji,
by the distance of their pixels at 32 x 32 on white. `hyperclip evals
--tasks=emoji` gives a model's accuracy on the same concepts, of which it has
not seen one in ten.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

from hyperclip_jax.data.emoji import concepts, generate, packages, scenes

SIDE = 32


def pixels(data: bytes) -> np.ndarray:
  """Draws an emoji on white, as a row."""
  ground = scenes.on_white(scenes.picture(data))
  small = ground.resize((SIDE, SIDE), Image.Resampling.BOX)
  return np.asarray(small, np.float32).ravel() / 255


def main() -> None:
  """Prints the accuracy of the nearest neighbour."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--packages", type=pathlib.Path, required=True)
  paths = packages.find(parser.parse_args().packages)
  vendors = (*generate.SEEN, generate.UNSEEN)
  data = {name: packages.pictures(name, paths[name]) for name in vendors}
  found = concepts.concepts(
    packages.table(paths[generate.DRAWN]), list(data.values())
  )
  rows = {
    name: np.stack([pixels(data[name][c.code]) for c in found])
    for name in vendors
  }
  new = rows.pop(generate.UNSEEN)
  known = np.concatenate([*rows.values()])
  far = ((new[:, None] - known[None]) ** 2).sum(axis=2)
  nearest = far.argmin(axis=1) % len(found)
  right = nearest == np.arange(len(found))
  kinds = np.array([c.subgroup for c in found])
  same = kinds[nearest] == kinds
  print(
    f"{len(found)} concepts, {len(set(kinds.tolist()))} subgroups; the nearest "
    f"neighbour by pixels is right for {right.mean():.1%}, and of the right "
    f"subgroup for {same.mean():.1%}; chance {1 / len(found):.2%}"
  )


if __name__ == "__main__":
  main()
