"""Walks along geodesics and collects the nearest entries of an index.

A model that has learned a hierarchy meets ever more general concepts on the
way to the root (MERU, Desai et al., 2023, Sec. 4.3; HyCoCLIP, Pal et al., 2025,
Sec. 3.4).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.inference import inputs
from hyperclip_jax.inference.search import Index

STEPS = 50
ROOT, ROOT_ROW = "root", -1
ROUNDING = 1e-12  # relative difference of scores that counts as a tie

Point = Float[np.ndarray, " dim"]


class Stop(NamedTuple):
  """Entry that is nearest on a stretch of a walk.

  Attributes:
    name: name in the index, or `ROOT`.
    t: place where it is first the nearest: 1 at the start, 0 at the end.
    row: row in the index, or `ROOT_ROW`.
  """

  name: str
  t: float
  row: int


def between(
  start: Point, end: Point, index: Index, steps: int = STEPS
) -> tuple[Stop, ...]:
  """Walks along the geodesic from `start` to `end`.

  Without hyperbolic geometry the way is the chord between the two, brought to
  the sphere: a great circle, in steps that are not quite equal.

  Args:
    start: embedding to start from.
    end: embedding to walk to.
    index: index of the entries that the walk may meet.
    steps: number of points on the way, both ends included.

  Returns:
    Nearest entry at each step, in order, without consecutive repeats.

  Raises:
    ValueError: there are fewer than two steps, or the index is empty.
  """
  if not len(index):
    raise ValueError("the index is empty: there is nothing to meet")
  ts, points = _points(start, end, index, steps)
  nearest = [hits[0].row for hits in index.search(points, 1)]
  return _stops(np.array(nearest), ts, index)


def to_root(
  start: Point, root: Point, index: Index, steps: int = STEPS
) -> tuple[Stop, ...]:
  """Walks along the geodesic to the root, which the walk may meet too.

  Args:
    start: embedding to start from, not to be in the index.
    root: `HyperCLIP.root`, or a substitute.
    index: index of the other entries that the walk may meet.
    steps: number of points on the way, both ends included.

  Returns:
    Nearest entry at each step, in order, without consecutive repeats. The root
    wins ties, so the last stop is the root.

  Raises:
    ValueError: there are fewer than two steps.
  """
  ts, points = _points(start, root, index, steps)
  (at_root,) = index.space.similarity(root[None], points)
  at_root += ROUNDING * np.abs(at_root)
  nearest = [
    hits[0].row if hits and hits[0].score > score else ROOT_ROW
    for hits, score in zip(index.search(points, 1), at_root, strict=True)
  ]
  return _stops(np.array(nearest), ts, index)


def _points(start, end, index, steps):
  """Makes t from 1 to 0, and the points there."""
  ts = np.linspace(1.0, 0.0, inputs.whole("steps", steps, 2))
  return ts, index.space.path(end, start, ts)


def _stops(nearest, ts, index) -> tuple[Stop, ...]:
  names = [*index.names, ROOT]  # the last for -1
  new = np.flatnonzero(np.diff(nearest, prepend=ROOT_ROW - 1))
  return tuple(
    Stop(names[nearest[i]], float(ts[i]), int(nearest[i])) for i in new
  )
