"""Fréchet means and variances of points of the Lorentz model.

The centroid, which needs no iteration, is `lorentz.centroid`: the gyromidpoint
of the ball and the Einstein midpoint of the Klein model are the same point.

References:
  Lou et al., Differentiating through the Fréchet Mean, ICML 2020.
  Pennec, Intrinsic Statistics on Riemannian Manifolds, JMIV 2006.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import elementary, lorentz, numerics, stable
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
  makes it, at the latest after 1000. In float32 rounding makes steps of .1 and
  more from a radius of 12 / sqrt(c) on: there the centroid is as good, and
  stays. Derivatives of any order are those of the implicit function theorem,
  with one linear solve (Lou et al., 2020).

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
  return _mean(x, _shares(x, weights), curv)


@jax.custom_jvp
def _mean(x, shares, curv):
  """Finds the mean by descent from the centroid; the shares add up to 1."""
  rc = jnp.sqrt(curv)

  def step(state):
    mu, _, count = state
    v, a2 = _mean_log(mu, x, shares, curv)
    a = jnp.sqrt(a2)
    # a coth(a) <= 1 + a^2 / (1 + a)
    bend = dot(shares, 1 + a2 / (1 + a))
    v = v / bend[..., None]
    length = rc * jnp.sqrt(stable.squared_length(v, mu, curv))
    noise = 8 * jnp.finfo(x.dtype).eps * (1 + jnp.max(a, axis=-1))
    noise = noise * rc * stable.time(mu, curv)
    moving = length > noise
    sure = (moving | (noise < 0.1))[..., None]
    new = jnp.where(sure, lorentz.expmap(mu, v, curv), mu)
    return new, jnp.any(moving), count + 1

  def unfinished(state):
    return state[1] & (state[2] < _MOST_STEPS)

  start = lorentz.centroid(x, curv, shares)
  return jax.lax.while_loop(unfinished, step, (start, jnp.array(True), 0))[0]


@_mean.defjvp
def _mean_jvp(primals, tangents):
  """Derives the mean as the root of `_mean_log`.

  In a frame at the mean, minus the derivative of log_mu(x_i) by mu is f - (f -
  1) u u^T, with f = a coth(a) and u the direction of the logarithm (Pennec,
  2006). Their weighted sum is symmetric, and at least 1.
  """
  x, shares, curv = primals
  rc = jnp.sqrt(curv)
  mu = _mean(x, shares, curv)
  (_, a2), (change, _) = jax.jvp(
    functools.partial(_mean_log, mu), primals, tangents
  )
  along, rest, excess = stable.split(x, mu[..., None, :], curv)
  part = (along - excess) / (1 + rc * stable.time(mu, curv))[..., None]
  ratio, _ = elementary.angle_over_sinh(excess)
  logs = ratio[..., None] * (rest + part[..., None] * mu[..., None, :])
  # f = 1 + a^2 L(a) / a, where a^2 = c |log|^2
  quotient = shares * elementary.langevinc(a2)
  bend = 1 + dot(quotient, a2)
  columns = jnp.swapaxes(logs, -1, -2)
  moments = numerics.products(quotient[..., None, :] * columns, columns)
  eye = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), moments.shape)
  matrix = bend[..., None, None] * eye - curv * moments
  root = jnp.zeros_like(mu)
  v = lorentz.ptransp(mu, root, change, curv)
  v = jnp.linalg.solve(matrix, v[..., None])[..., 0]
  return mu, lorentz.ptransp(root, mu, v, curv)


def _mean_log(mu, x, shares, curv):
  """Computes the mean of log_mu(x_i), and c d(mu, x_i)^2."""
  along, rest, excess = stable.split(x, mu[..., None, :], curv)
  ratio, angle2 = elementary.angle_over_sinh(excess)
  weights = shares * ratio
  behind = dot(weights, along - excess)
  v = jnp.sum(weights[..., None] * rest, axis=-2) + behind[..., None] * mu
  return v, angle2


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
  return elementary.squared_acosh1p(stable.excess(x, y, curv))


def _shares(x, weights):
  """Scales weights to the sum 1."""
  if weights is None:
    return jnp.full_like(x[..., 0], 1 / x.shape[-2])
  weights = numerics.over_largest(weights)
  return weights / jnp.sum(weights, axis=-1, keepdims=True)
