"""Products, lengths and angles whose values and derivatives stay finite.

A derivative of JAX is a product, so an infinite factor turns the zero of a
masked branch into NaN. Every branch here is therefore chosen twice: once for
the argument, so that the branch not taken is evaluated at a harmless point,
and once for the result.

Each takes JAX arrays, traced or not, or NumPy arrays, which stay on the host
without compiling anything, for any number of rows.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

# What the functions of the geometry take and return: JAX arrays if one of the
# arguments is one, and NumPy arrays otherwise. No static type says as much.
if TYPE_CHECKING:
  Array = Any
else:
  Array = jax.Array | np.ndarray
Scalar = float | Float[Array, ""]


def namespace(*values: Any) -> ModuleType:
  """Returns `jax.numpy` if any value is a JAX array, `numpy` otherwise."""
  return jnp if any(isinstance(v, jax.Array) for v in values) else np


def dot(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"]
) -> Float[Array, "*#batch"]:
  """Computes scalar products row by row, in full precision on every device.

  Args:
    x: rows.
    y: rows.

  Returns:
    Scalar products.

  Examples:
    >>> float(dot(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])))
    11.0
  """
  if namespace(x, y) is np:
    return np.vecdot(x, y)
  return jnp.sum(x * y, axis=-1)


def products(
  x: Float[Array, "*batch n dim"], y: Float[Array, "*batch m dim"]
) -> Float[Array, "*batch n m"]:
  """Computes scalar products of all pairs of rows, in full precision.

  Args:
    x: rows, n of them.
    y: rows, m of them.

  Returns:
    Scalar products.
  """
  if namespace(x, y) is np:
    return x @ np.swapaxes(y, -1, -2)
  y = jnp.swapaxes(y, -1, -2)
  return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def sqrt(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes square roots; 0 with zero gradient where x <= 0.

  Examples:
    >>> float(jax.grad(sqrt)(0.0))
    0.0
  """
  if namespace(x) is np:
    return np.sqrt(np.maximum(x, 0))
  positive = x > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
  """Scales rows to length 1; rows shorter than 1e-12 are divided by 1e-12."""
  xp = namespace(x)
  squares = xp.maximum(xp.sum(x**2, axis=-1, keepdims=True), 1e-24)
  return x / np.sqrt(squares) if xp is np else x * jax.lax.rsqrt(squares)


def norm(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
  """Computes Euclidean lengths of rows; the gradient is 0 at a zero row.

  Examples:
    >>> jax.grad(norm)(jnp.zeros(2))
    Array([0., 0.], dtype=float32)
  """
  return sqrt(dot(x, x))


def shorten(
  x: Float[Array, "*batch dim"], longest: Scalar
) -> Float[Array, "*batch dim"]:
  """Scales rows of a JAX array that are longer than `longest` to that length.

  Args:
    x: rows.
    longest: positive.

  Returns:
    Rows; the derivative of one that is scaled has no part along it.

  Examples:
    >>> shorten(jnp.array([[3.0, 4.0], [0.6, 0.8]]), 2.5)
    Array([[1.5, 2. ],
           [0.6, 0.8]], dtype=float32)
  """
  length = norm(x)
  far = length > longest
  scale = jnp.where(far, longest / jnp.where(far, length, 1), 1)
  return scale[..., None] * x


def atan2(
  y: Float[Array, "*batch"], x: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
  """Computes the angle of the point (x, y); the gradient is 0 at the origin.

  Args:
    y: second coordinate.
    x: first coordinate.

  Returns:
    Angles in radians, in [-pi, pi]; 0 at the origin.
  """
  if namespace(y, x) is np:
    return np.where((x == 0) & (y == 0), 0, np.arctan2(y, x))
  # The angle does not depend on the scale, but the powers of x^2 + y^2 in its
  # derivatives over- and underflow float32 unless the scale is taken out.
  scale = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x), jnp.abs(y)))
  origin = scale == 0
  scale = jnp.where(origin, 1, scale)
  y, x = jnp.where(origin, 0, y / scale), jnp.where(origin, 1, x / scale)
  return jnp.arctan2(y, x)


def over_largest(w: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
  """Divides w >= 0, of any size, by its largest value along the last axis.

  It suits functions that depend only on the ratios of w, since the largest
  value counts as a constant in derivatives. A row of zeros gives NaN.
  """
  info = jnp.finfo(w.dtype)
  # XLA divides a row by one number through its reciprocal, which is 0 for the
  # largest numbers, and some devices read subnormal ones as 0: scale both by a
  # power of 2 first.
  power = 4.0**info.nmant
  top = jnp.max(w, axis=-1, keepdims=True)
  tiny = top < 1 / power
  scaled = w * jnp.where(tiny, power, jnp.where(top > power, 1 / power, 1))
  # The bits of a subnormal number count steps of the smallest.
  bits = jax.lax.bitcast_convert_type(w, f"uint{info.bits}")
  steps = bits.astype(w.dtype) * (float(info.smallest_subnormal) * power)
  exact = jnp.where(tiny & (bits < 2**info.nmant), steps, scaled)
  # A cast has no derivative: that of the product stands in for it.
  exact = scaled + jax.lax.stop_gradient(exact - scaled)
  return exact / jax.lax.stop_gradient(jnp.max(exact, axis=-1, keepdims=True))
