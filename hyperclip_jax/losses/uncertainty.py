"""Uncertainty of points by their radius, and its calibration (UNCHA).

Kim et al., UNCHA: Uncertainty-guided Compositional Hyperbolic Alignment,
  CVPR 2026.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import numerics


def uncertainty(points: Float[Array, "*n dim"]) -> Float[Array, "*n"]:
  """Computes u = softplus(-|s|) of points of a hyperboloid.

  Args:
    points: space components s.

  Returns:
    Uncertainties in (0, ln 2]; ln 2 at the root.

  Examples:
    >>> uncertainty(jnp.zeros((1, 2)))
    Array([0.6931...], dtype=float32)
  """
  return jax.nn.softplus(-numerics.norm(points))


def confidence(uncertainties: Float[Array, "*n"]) -> Float[Array, "*n"]:
  """Computes exp(-u / 2), a factor of logits; no gradient passes it."""
  return jax.lax.stop_gradient(jnp.exp(-uncertainties / 2))


def calibration(
  residuals: Float[Array, " n"], uncertainties: Float[Array, " n"]
) -> Float[Array, " n"]:
  """Computes r exp(-u) / 2 + u / 2, without gradient for r.

  It is least at u = ln r, so for residuals below 1 it only lowers u: it pushes
  the points outward.

  Args:
    residuals: entailment residuals r of pairs.
    uncertainties: u of their apexes.

  Returns:
    Losses, one a row.
  """
  fixed = jax.lax.stop_gradient(residuals)
  return 0.5 * fixed * jnp.exp(-uncertainties) + 0.5 * uncertainties


def entropy(
  uncertainties: Float[Array, " n"], where: Bool[Array, " n"] | None = None
) -> Float[Array, ""]:
  """Computes the entropy of the softmax of uncertainties over a batch.

  Args:
    uncertainties: one of each row.
    where: rows of the softmax; None for all.

  Returns:
    Entropy in nats, at most the logarithm of the number of rows; 0 of none.

  Examples:
    >>> float(entropy(jnp.ones(4)))  # ln 4
    1.3862...
  """
  if where is None:
    logs = jax.nn.log_softmax(uncertainties)
    return -jnp.sum(jnp.exp(logs) * logs)
  # Rows left out have no share; all alike if none is in.
  low = jnp.where(where, uncertainties, -jnp.inf)
  low = jnp.where(jnp.any(where), low, 0)
  logs = jnp.where(where, jax.nn.log_softmax(low), 0)
  return -jnp.sum(jnp.where(where, jnp.exp(logs) * logs, 0))
