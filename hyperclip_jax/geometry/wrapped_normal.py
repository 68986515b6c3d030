"""The wrapped normal distribution of the Lorentz model.

A normal vector at the root is transported to the mean and mapped to a point
there, which is the mean (+) exp_0 of the vector.

References:
  Nagano et al., A Wrapped Normal Distribution on Hyperbolic Space, ICML 2019.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray, UInt32

from hyperclip_jax.geometry import boosts, elementary, lorentz
from hyperclip_jax.geometry.numerics import Array, Scalar, dot

Key = PRNGKeyArray | UInt32[Array, "2"]


def sample(
  key: Key,
  mean: Float[Array, "*batch dim"],
  std: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*batch dim"]:
  """Draws one point for each mean; differentiable in mean, std and curv.

  Args:
    key: random key.
    mean: points.
    std: standard deviations along the axes at the root, in units of distance.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> mean = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    >>> x = sample(jax.random.key(0), mean, jnp.full((1, 2), 1e-3), 1.0)
    >>> bool(jnp.all(lorentz.dist(x, mean, 1.0) < 1e-2))
    True
  """
  v = std * jax.random.normal(key, mean.shape, mean.dtype)
  return boosts.add(mean, lorentz.expmap0(v, curv), curv)


def log_prob(
  x: Float[Array, "*#batch dim"],
  mean: Float[Array, "*#batch dim"],
  std: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch"]:
  """Computes log densities with respect to the hyperbolic volume.

  log N(v; 0, std^2) - (dim - 1) log(sinh(r) / r) with the vector v at the root
  that `sample` maps to x, and r = sqrt(c) |v|.

  Args:
    x: points.
    mean: points.
    std: standard deviations along the axes at the root, positive.
    curv: c, where the curvature is -c.

  Returns:
    Log densities.

  Examples:
    >>> x = jnp.zeros((1, 2))
    >>> log_prob(x, x, jnp.ones((1, 2)), 1.0)  # -log(2 pi)
    Array([-1.8378...], dtype=float32)
  """
  v = lorentz.logmap0(boosts.add(-mean, x, curv), curv)
  z = v / std
  normal = dot(z, z) / 2 + jnp.sum(jnp.log(std), axis=-1)
  dim = v.shape[-1]
  volume = (dim - 1) * elementary.log_sinhc(curv * dot(v, v))
  return -normal - dim / 2 * math.log(2 * math.pi) - volume
