"""Numbers of the published CLIP-Rocket code; see golden/clip_rocket/README."""

import functools
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden/clip_rocket"


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray]:
  """A golden .npz."""
  with np.load(FOLDER / f"{name}.npz") as file:
    return dict(file)


def under(tree, prefix):
  """Entries below a prefix, by the rest of their name."""
  prefix = f"{prefix}/"
  return {
    key.removeprefix(prefix): value
    for key, value in tree.items()
    if key.startswith(prefix)
  }


def cases(kind):
  """Names of the cases of a kind of loss."""
  names = under(arrays("losses_float64"), kind)
  return sorted({f"{kind}/{name.split('/')[0]}" for name in names})
