"""Pooling of images whose pixels are points."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.hyperbolic import tangent, windows


def avg_pool(
  x: Float[Array, "*batch dim"],
  curv: Scalar,
  window_shape: Sequence[int],
  strides: windows.Sizes = 1,
  padding: windows.Padding = "VALID",
) -> Float[Array, "*rest dim"]:
  """Takes the centroid of each window, without what pads it.

  A constant image stays as it is; HypLL's layer pulls it to the root.

  Args:
    x: images (*batch, *spatial, channels) of points.
    curv: c, where the curvature is -c.
    window_shape: lengths of the window, one for each spatial axis.
    strides: steps of the window, 1 as in `flax.linen.avg_pool`.
    padding: "SAME", "VALID", or places.

  Returns:
    Images of points.

  Examples:
    >>> x = jnp.full((4, 4, 1), 2.0)
    >>> avg_pool(x, 1.0, (2, 2), strides=2)[..., 0].round(4)
    Array([[2., 2.],
           [2., 2.]], dtype=float32)
  """
  rank = len(window_shape)
  lead = x.shape[: x.ndim - rank - 1]
  spatial = x.shape[len(lead) : -1]
  strides = windows.sizes(strides, rank)
  pads = _pads(padding, spatial, window_shape, strides)
  image = x.reshape(math.prod(lead), *spatial, x.shape[-1])
  points = windows.stack(image, window_shape, strides, pads)
  weights = None
  if any(before or after for before, after in pads):
    inside = jnp.ones((1, *spatial, 1), x.dtype)
    inside = windows.stack(inside, window_shape, strides, pads)[..., 0]
    weights = jnp.broadcast_to(inside, points.shape[:-1])
  y = lorentz.centroid(points, curv, weights)
  return y.reshape(*lead, *y.shape[1:])


def global_avg_pool(
  x: Float[Array, "*batch dim"], curv: Scalar, axes: int = 2
) -> Float[Array, "*rest dim"]:
  """Takes the centroid of all pixels.

  Args:
    x: images (*batch, *spatial, channels) of points.
    curv: c, where the curvature is -c.
    axes: number of spatial axes.

  Returns:
    Points.

  Examples:
    >>> global_avg_pool(jnp.ones((5, 4, 4, 3)), 1.0).shape
    (5, 3)
  """
  lead = x.shape[: x.ndim - 1 - axes]
  return lorentz.centroid(x.reshape(*lead, -1, x.shape[-1]), curv)


def max_pool(
  x: Float[Array, "*batch dim"],
  curv: Scalar,
  window_shape: Sequence[int],
  strides: windows.Sizes = 1,
  padding: windows.Padding = "VALID",
) -> Float[Array, "*rest dim"]:
  """Takes the largest tangent vector at the root, component by component.

  Args:
    x: images (*batch, *spatial, channels) of points.
    curv: c, where the curvature is -c.
    window_shape: lengths of the window, one for each spatial axis.
    strides: steps of the window, 1 as in `flax.linen.max_pool`.
    padding: "SAME", "VALID", or places.

  Returns:
    Images of points.

  Examples:
    >>> x = jnp.array([1.0, 3.0, -2.0, -1.0])[:, None]
    >>> max_pool(x, 1.0, (2,), strides=2)[:, 0].round(4)
    Array([ 3., -1.], dtype=float32)
  """
  rank = len(window_shape)
  strides = windows.sizes(strides, rank)
  spatial = x.shape[x.ndim - rank - 1 : -1]
  pads = _pads(padding, spatial, window_shape, strides)

  def pool(u):
    lead = (1,) * (u.ndim - rank - 1)
    return jax.lax.reduce_window(
      u,
      -jnp.inf,
      jax.lax.max,
      (*lead, *window_shape, 1),
      (*lead, *strides, 1),
      [*((0, 0) for _ in lead), *pads, (0, 0)],
    )

  return tangent.in_tangent(pool, x, curv)


def _pads(padding, spatial, window, strides):
  """Computes pads, of which none may hold a whole window."""
  pads = windows.pads(padding, spatial, window, strides, (1,) * len(window))
  if any(max(pad) >= w for pad, w in zip(pads, window, strict=True)):
    raise ValueError(
      f"padding must be less than the window of {tuple(window)}, found {pads}"
    )
  return pads
