"""Probabilities of labels."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz


class Classification(NamedTuple):
  """What `HyperCLIP.classify` finds.

  Attributes:
    labels: as given.
    probabilities: (images, labels); rows sum to 1.
  """

  labels: list[str]
  probabilities: np.ndarray

  def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
    """The `k` likeliest (label, probability) of each image, best first."""
    order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
    return [
      [(self.labels[i], float(row[i])) for i in best]
      for row, best in zip(self.probabilities, order, strict=True)
    ]


def check(labels: Sequence[str], templates: Sequence[str]) -> None:
  """Refuses no labels, and templates that do not hold one `{}`."""
  if not labels:
    raise ValueError("labels is empty: give at least one")
  if not templates:
    raise ValueError("templates is empty: give at least one, such as '{}'")
  for template in templates:
    if template.replace("{}", "", 1).count("{") or "{}" not in template:
      raise ValueError(f"template {template!r} must hold {{}} once")


def probabilities(
  images: Float[np.ndarray, "images dim"],
  classes: Float[np.ndarray, "classes dim"],
  logit_scale: float,
  curv: float,
) -> Float[np.ndarray, "images classes"]:
  """The softmax over classes that the objectives train.

  Args:
    images: embeddings.
    classes: embeddings.
    logit_scale: multiplies minus the distance, or the cosine.
    curv: the curvature is -curv; 0 for the unit vectors of CLIP.
  """
  x, y = jnp.asarray(images), jnp.asarray(classes)
  near = -lorentz.pairwise_dist(x, y, curv) if curv else x @ y.T
  return np.asarray(jax.nn.softmax(logit_scale * near, axis=1))
