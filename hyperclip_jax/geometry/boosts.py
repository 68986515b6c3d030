"""Addition of points: the gyrovector space of the Lorentz model.

Möbius addition of the Poincare ball, in space components. x (+) y moves y by
the boost, or translation, that carries the root to x. Arrays are JAX arrays;
points and their broadcasting are those of `geometry.lorentz`.

References:
  Ungar, A Gyrovector Space Approach to Hyperbolic Geometry, 2008.
  Ganea et al., Hyperbolic Neural Networks, NeurIPS 2018.
"""

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import stable
from hyperclip_jax.geometry.numerics import Array, Scalar, dot
from hyperclip_jax.geometry.stable import time


def add(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Computes x (+) y, which is y after the boost that carries the root to x.

  y + x (sqrt(c) t_y + c x.y / (1 + sqrt(c) t_x)). Where x and y nearly cancel,
  the terms are arranged as multiples of x + y. It is an isometry in y;
  add(-x, add(x, y)) = y, and neither commutative nor associative.

  In float32 the error is about 6e-8 times the product of cosh(sqrt(c) r) of
  both points: rounding x alone turns the boost by as much.

  Args:
    x: points, the images of the root.
    y: points that are moved.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> x = jnp.array([3.0, 4.0])
    >>> add(x, jnp.zeros(2), 1.0)
    Array([3., 4.], dtype=float32)
    >>> add(-x, x, 1.0)
    Array([0., 0.], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  t_x, t_y = time(x, curv), time(y, curv)
  # With s = x + y and dt = t_y - t_x the sum is s + x (k dt + c x.s / (1 + k
  # t_x)); where s is the shorter vector, y + x (...) would cancel.
  s = x + y
  near = dot(s, s) < dot(y, y)
  dt = dot(y - x, s) / (t_x + t_y)
  base = jnp.where(near[..., None], s, y)
  weight = jnp.where(near, rc * dt, rc * t_y)
  weight = weight + curv * dot(x, base) / (1 + rc * t_x)
  return base + weight[..., None] * x


def reflect(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Reflects y at the point x: the geodesic goes on as far on the other side.

  -y - 2 c <x, y> x, an isometry, with the Lorentz inner product.

  Args:
    x: points in the middle.
    y: points to reflect.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> reflect(jnp.zeros(2), jnp.array([3.0, -4.0]), 1.0)
    Array([-3.,  4.], dtype=float32)
  """
  weight = 2 * curv * (time(x, curv) * time(y, curv) - dot(x, y))
  return weight[..., None] * x - y


def gyration(
  u: Float[Array, "*#batch dim"],
  v: Float[Array, "*#batch dim"],
  w: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch dim"]:
  """Rotates w by gyr[u, v], what (u (+) v) (+) leaves of u (+) (v (+) .).

  gyr[u, v] w = -(u (+) v) (+) (u (+) (v (+) w)); it is linear in w and leaves
  lengths, so w may be a point or a tangent vector at the root.

  Args:
    u: points.
    v: points.
    w: points, or tangent vectors at the root.
    curv: c, where the curvature is -c.

  Returns:
    Rotated w.

  Examples:
    >>> u, v = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    >>> gyration(u, v, jnp.array([1.0, 0.0]), 1.0).round(4)
    Array([ 0.9428..., -0.3333], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  k_u, k_v = rc * time(u, curv), rc * time(v, curv)
  uw, vw = dot(u, w), dot(v, w)
  turn = 2 * curv * dot(u, v) / ((1 + k_u) * (1 + k_v)) + 1
  along_u = turn * vw - _excess(v, curv) * uw / (1 + k_u)
  along_v = -uw - _excess(u, curv) * vw / (1 + k_v)
  scale = curv / (2 + stable.excess(u, -v, curv))
  return w + (scale * along_u)[..., None] * u + (scale * along_v)[..., None] * v


def _excess(x, curv):
  """Computes sqrt(c) t - 1."""
  return jnp.sqrt(curv) * stable.excess_time(x, curv)
