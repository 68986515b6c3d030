"""Walks from image to image: what lies nearest on the way."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax.evals.traversal import Stop, stops
from hyperclip_jax.geometry import lorentz
from hyperclip_jax.search import Index

ROOT = "root"


class Waypoint(NamedTuple):
  """The nearest thing from here on.

  Attributes:
    name: what the index calls it, or `ROOT`.
    t: where it is first the nearest: 1 at the start, 0 at the end.
  """

  name: str
  t: float


def between(
  start: Float[np.ndarray, " dim"],
  end: Float[np.ndarray, " dim"],
  index: Index,
  steps: int,
) -> tuple[Stop, ...]:
  """Rows met on the geodesic from `start` to `end`, in equal steps."""
  if not len(index) or steps < 2:
    raise ValueError(f"a walk of {steps} steps among {len(index)} things")
  ts = np.linspace(1.0, 0.0, steps, dtype=np.float32)
  if index.curv:
    x, y = jnp.asarray(start)[None], jnp.asarray(end)[None]
    points = np.asarray(lorentz.geodesic(y, x, jnp.asarray(ts), index.curv))
  else:
    points = ts[:, None] * start[None] + (1 - ts[:, None]) * end[None]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
  nearest = [hits[0].row for hits in index.search(points, 1)]
  return stops(np.array(nearest), ts)


def named(walk: Iterable[Stop], index: Index) -> list[Waypoint]:
  """Stops by the names of the index; number -1 is the root."""
  names = [*index.names, ROOT]
  return [Waypoint(names[stop.candidate], stop.t) for stop in walk]
