"""Measures by each score of a space."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from hyperclip_jax.evals import rates
from hyperclip_jax.geometry import ensemble, gaussian
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference.protocol import Model

WEIGHTS = {"z": 1.0, "h": 0.0, **{f"w0.{w}": w / 10 for w in range(1, 10)}}
# (n, dim) and (m, dim) -> (n, m), higher where nearer
Similarity = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "n m"]]


def others(space: Space) -> dict[str, Similarity]:
  """Returns the scores that a space has besides its own.

  Args:
    space: space of the embeddings.

  Returns:
    Similarities by name: "cosine" for Gaussians that are compared by CSD, "csd"
    for those compared by cosines, none for other spaces.
  """
  if not isinstance(space, Gaussian):
    return {}
  return {
    name: space.by(name).similarity
    for name in gaussian.SCORES
    if name != space.score
  }


def projectors(space: Space) -> dict[str, Similarity]:
  """Returns the scores of an ensemble by each projector, and by both.

  Args:
    space: space of the embeddings.

  Returns:
    "z" and "h" by the weak and the strong projector, "w0.1" to "w0.9" by
    weights of the weak one; none if the space has one projector, or uses one.
  """
  if not isinstance(space, Ensemble) or not 0 < space.weight < 1:
    return {}
  return {
    name: functools.partial(_weighed, weight)
    for name, weight in WEIGHTS.items()
  }


def _weighed(
  weight: float, x: np.ndarray, y: np.ndarray
) -> Float[np.ndarray, "n m"]:
  return ensemble.scores(x, y, (weight,))[weight]


def by_each(
  model: Model, measure: Callable[[Similarity], dict[str, float]]
) -> dict[str, float]:
  """Measures by the model's own score, and by the others of its space.

  Args:
    model: model whose space says which scores there are.
    measure: function of a similarity that returns measures, named as in
      `rates`.

  Returns:
    Measures by the model's score, and NAME_cosine for those by cosines.
  """
  found = measure(model.similarity)
  for name, similarity in others(model.space).items():
    found |= rates.renamed(measure(similarity), f"_{name}")
  return found
