"""Fréchet means and variances of points of the Lorentz model.

The centroid, which needs no iteration, is `lorentz.centroid`: the gyromidpoint
of the ball and the Einstein midpoint of the Klein model are the same point.

References:
  Lou et al., Differentiating through the Fréchet Mean, ICML 2020.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz, numerics, stable
from hyperclip_jax.geometry.numerics import Array, Scalar, dot

_MOST_STEPS = 1000


def frechet_mean(
  x: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Finds the points with the least weighted sum of squared distances.

  The iteration mu <- exp_mu(sum_i w_i log_mu(x_i) / h) starts at the centroid;
  h, the mean of a coth(a) with a = sqrt(c) d_i, bounds the second derivative,
  so that no step goes too far. It ends when no step is longer than rounding
  makes it, at the latest after 1000. Derivatives of any order are those of the
  implicit function theorem, with one linear solve (Lou et al., 2020).

  Args:
    x: points; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Means.

  Examples:
    >>> x = lorentz.expmap0(jnp.array([[3.0, 0.0], [0.0, 0.0]]), 1.0)
    >>> lorentz.logmap0(frechet_mean(x, 1.0), 1.0).round(4)
    Array([1.5, 0. ], dtype=float32)
  """
  shares = _shares(x, weights)

  def mean_log(mu):
    logs = lorentz.logmap(mu[..., None, :], x, curv)
    return jnp.sum(shares[..., None] * logs, axis=-2)

  def descend(mean_log, start):
    return _descend(mean_log, start, x, shares, curv)

  start = jax.lax.stop_gradient(lorentz.centroid(x, curv, weights))
  return jax.lax.custom_root(mean_log, start, descend, _solve)


def _descend(mean_log, start, x, shares, curv):
  """Iterates to the mean; `mean_log` is the direction of descent."""
  rc = jnp.sqrt(curv)

  def step(state):
    mu, _, count = state
    a2 = _angle2(x, mu[..., None, :], curv)
    a = jnp.sqrt(a2)
    tangent = mean_log(mu)
    bend = dot(shares, 1 + a2 / (1 + a))  # a coth(a) <= 1 + a^2 / (1 + a)
    v = tangent / bend[..., None]
    length = rc * jnp.sqrt(stable.squared_length(v, mu, curv))
    noise = 8 * jnp.finfo(x.dtype).eps * (1 + jnp.max(a, axis=-1))
    moving = length > noise * rc * stable.time(mu, curv)
    return lorentz.expmap(mu, v, curv), jnp.any(moving), count + 1

  def unfinished(state):
    return state[1] & (state[2] < _MOST_STEPS)

  return jax.lax.while_loop(unfinished, step, (start, jnp.array(True), 0))[0]


def _solve(linear, y):
  """Solves linear(v) = y, where `linear` acts on each row by itself."""
  basis = jnp.eye(y.shape[-1], dtype=y.dtype)
  columns = jax.vmap(lambda e: linear(jnp.broadcast_to(e, y.shape)))(basis)
  return jnp.linalg.solve(jnp.moveaxis(columns, 0, -1), y[..., None])[..., 0]


def variance(
  x: Float[Array, "*batch n dim"],
  mean: Float[Array, "*batch dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch"]:
  """Computes weighted means of squared distances to a point.

  Args:
    x: points; the mean is over axis -2.
    mean: points that the distances are taken to.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Variances; smooth where points coincide.

  Examples:
    >>> x = lorentz.expmap0(jnp.array([[3.0, 0.0], [0.0, 1.0]]), 1.0)
    >>> float(variance(x, jnp.zeros(2), 1.0).round(4))
    5.0
  """
  angle2 = _angle2(x, mean[..., None, :], curv)
  return dot(_shares(x, weights), angle2) / curv


def _angle2(x, y, curv):
  """Computes c d(x, y)^2."""
  return numerics.squared_acosh1p(stable.excess(x, y, curv))


def _shares(x, weights):
  """Scales weights to the sum 1."""
  if weights is None:
    return jnp.full_like(x[..., 0], 1 / x.shape[-2])
  weights = numerics.over_largest(weights)
  return weights / jnp.sum(weights, axis=-1, keepdims=True)
