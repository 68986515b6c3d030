"""Walks from an embedding to the root, naming what lies nearest on the way.

A model that learned a hierarchy meets ever more general concepts (MERU, Desai
et al., 2023, Sec. 4.3; HyCoCLIP, Pal et al., 2025, Sec. 3.4).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.evals import Model

ROOT = -1


class Stop(NamedTuple):
  """A candidate met on the way.

  Attributes:
    candidate: Its row among the candidates, or ROOT.
    t: Where it was first met: 1 at the embedding, 0 at the root.
  """

  candidate: int
  t: float


def traverse(
  model: Model,
  features: Float[np.ndarray, "walks dim"],
  candidates: Float[np.ndarray, "candidates dim"],
  steps: int = 50,
) -> list[tuple[Stop, ...]]:
  """Walks from each feature to the root in equal steps.

  A geodesic through the root is a line in the tangent space there, so t * v is
  lifted for t from 1 to 0. Without hyperbolic geometry the root is the mean of
  the candidates, and the line from the unit embedding to it is normalised.

  Args:
    model: The model.
    features: Where the walks start, unlifted (`lift=False`).
    candidates: Lifted embeddings of texts, of images or of both; the root is
      always a candidate too. Leave the start itself out.
    steps: Points on the way, both ends included.

  Returns:
    For each walk the nearest candidate at every step, in order, without
    consecutive repeats. The last one is the root.
  """
  if steps < 2:
    raise ValueError(f"steps is {steps}; a walk needs its two ends")
  if model.hyperbolic:
    root = np.zeros_like(features[0])
  else:
    root = candidates.mean(axis=0)
    features = model.lift(features)
  # The root comes first: it wins ties, and argmax - 1 is ROOT.
  targets = np.concatenate([model.lift(root[None]), candidates])
  ts = np.linspace(1.0, 0.0, steps, dtype=features.dtype)[:, None]
  walks = []
  for feature in features:
    points = model.lift(root + ts * (feature - root))
    nearest = np.argmax(model.similarity(points, targets), axis=1) - 1
    walks.append(stops(nearest, ts[:, 0]))
  return walks


def stops(
  nearest: Int[np.ndarray, "steps"], ts: Float[np.ndarray, "steps"]
) -> tuple[Stop, ...]:
  """The nearest candidate at every step, without consecutive repeats."""
  new = np.flatnonzero(np.diff(nearest, prepend=ROOT - 1))
  return tuple(Stop(int(nearest[i]), float(ts[i])) for i in new)
