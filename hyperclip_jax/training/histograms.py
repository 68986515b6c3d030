"""Histograms of gradients, for the boards of a run.

All share their bins, so that parameters and steps compare. Between powers of
two from 2^-24 to 2^8, of either sign, there is one bin each, and one around 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, Int

NAME = "histograms"  # among the metrics of a step

_POWERS = 2.0 ** np.arange(-24, 9)
EDGES = np.concatenate([-_POWERS[::-1], _POWERS])
BINS = len(EDGES) - 1


class Histogram(NamedTuple):
  """Counts of values between edges.

  Attributes:
    counts: (bins,) number of values.
    edges: (bins + 1,) edges, ascending.
  """

  counts: np.ndarray
  edges: np.ndarray


def count(values: Float[Array, "..."]) -> Int[Array, "bins"]:
  """Counts values by bins; those outside of all, and NaN, are in the outermost.

  Args:
    values: values of any shape.

  Returns:
    Counts between `EDGES`.
  """
  inner = jnp.asarray(EDGES[1:-1], values.dtype)
  bins = jnp.searchsorted(inner, values, side="right")
  return jnp.zeros(BINS, jnp.int32).at[bins].add(1)


def every(
  steps: int, step: Int[Array, ""], gradients: Any
) -> dict[str, Int[Array, "bins"]]:
  """Counts the elements of gradients every so many steps.

  Args:
    steps: steps from one histogram to the next, at least 1.
    step: number of steps before this one.
    gradients: tree of gradients.

  Returns:
    Path of a parameter, with slashes -> counts; zeros at the steps between.
  """
  leaves = traverse_util.flatten_dict(dict(gradients), sep="/")
  return jax.lax.cond(
    (step + 1) % steps == 0,
    lambda leaves: jax.tree.map(count, leaves),
    lambda leaves: jax.tree.map(lambda _: jnp.zeros(BINS, jnp.int32), leaves),
    leaves,
  )


def read(counts: dict[str, Any]) -> dict[str, Histogram]:
  """Fetches histograms for the boards, from the first filled bin to the last.

  Args:
    counts: result of `every`, at a step that has them.

  Returns:
    "gradients/PATH" -> histogram.
  """
  found = {}
  for path, row in jax.device_get(counts).items():
    filled = np.flatnonzero(row)
    some = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, BINS)
    edges = EDGES[some.start : some.stop + 1]
    found[f"gradients/{path}"] = Histogram(row[some], edges)
  return found
