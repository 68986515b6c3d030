"""Elementary functions whose values and derivatives stay finite.

A derivative of JAX is a product, so an infinite factor turns the zero of a
masked branch into NaN. Every branch here is therefore chosen twice: once for
the argument, so that the branch not taken is evaluated at a harmless point,
and once for the result.

Functions that are even in a length r take its square `r2`: they are smooth in
r2 at 0, where r itself, being a square root, is not.

Each takes JAX arrays, traced or not, or NumPy arrays, which stay on the host
without compiling anything, for any number of rows.
"""

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

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


def asinh(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes asinh(x) of JAX arrays; it has a slope where x^2 overflows.

  Examples:
    >>> asinh(jnp.float32(1e30)).round(2)
    Array(69.77, dtype=float32)
    >>> (1e30 * jax.grad(asinh)(1e30)).round(2)
    Array(1., dtype=float32, weak_type=True)
  """
  # The derivative has x^2 + 1. asinh(x) = asinh(x / 2^n) + n log(2), to the
  # last digit, of numbers whose square is too large.
  info = jnp.finfo(jnp.result_type(x))
  power = int(0.42 * info.maxexp)
  far = jnp.abs(x) > float(info.max) ** 0.5
  near = jnp.arcsinh(jnp.where(far, x * 2.0**-power, x))
  return near + jnp.where(far, jnp.sign(x) * (power * math.log(2)), 0)


def acosh1p(u: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes acosh(1 + u) without forming 1 + u.

  The value and the gradient are 0 where u <= 0.

  Examples:
    >>> round(float(acosh1p(jnp.float32(1e-12))) * 1e6, 3)  # sqrt(2e-12)
    1.414
  """
  return 2 * namespace(u).arcsinh(sqrt(u / 2))


def squared_acosh1p(u: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes acosh(1 + u)^2 for u >= 0, smooth at u = 0."""
  return angle_over_sinh(u)[1]


def angle_over_sinh(
  u: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
  """Computes a / sinh(a) and a^2 from u = cosh(a) - 1 >= 0, smooth at 0.

  Examples:
    >>> ratio, angle2 = angle_over_sinh(jnp.cosh(2.0) - 1)
    >>> f"{ratio:.4f} {angle2:.4f}"  # 2 / sinh(2)
    '0.5514 4.0000'
  """
  half = asinhc(u / 2)  # a / 2 over its sinh
  return half / namespace(u).sqrt(1 + u / 2), 2 * u * half**2


def coshm1(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes cosh(r) - 1 for r2 = r^2 >= 0."""
  return r2 / 2 * sinhc(r2 / 4) ** 2


def sinhc(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes sinh(r) / r for r2 = r^2 >= 0; 1 at 0.

  It overflows where exp(r) does.

  Examples:
    >>> float(sinhc(jnp.float32(0.0)))
    1.0
  """
  return _quotient(_SINHC, r2)


def asinhc(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes asinh(r) / r for r2 = r^2 >= 0; 1 at 0."""
  return _quotient(_ASINHC, r2)


def langevinc(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes (coth(r) - 1/r) / r for r2 = r^2 >= 0; 1/3 at 0."""
  return _quotient(_LANGEVINC, r2)


def log_sinhc(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes log(sinh(r) / r) of a JAX array r2 = r^2 >= 0, without overflow.

  Examples:
    >>> log_sinhc(jnp.float32(1e4)).round(2)  # 100 - log(200)
    Array(94.7, dtype=float32)
  """
  far = r2 > 100
  r = jnp.sqrt(jnp.where(far, r2, 1))
  large = r - jnp.log(2 * r) + jnp.log1p(-jnp.exp(-2 * r))
  return jnp.where(far, large, jnp.log(sinhc(jnp.where(far, 0, r2))))


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


class _Quotient(NamedTuple):
  """f(r) / r, of an odd function f, as a function of r^2.

  Attributes:
    function: f, given the namespace and r.
    slope: the derivative by r^2, given r^2 and the value, so that it needs
      fewer elementary functions.
    series: coefficients of powers of r^2.
    below: the r^2 up to which the series is taken.
    slope_below: the same for its derivative.
  """

  function: Callable[[ModuleType, Any], Any]
  slope: Callable[[Any, Any], Any]
  series: Sequence[float]
  below: float
  slope_below: float


def _sinh(xp, r):
  """Computes sinh(r) for r >= 1, with one exponential."""
  half = xp.exp(r) / 2
  return half - 0.25 / half


def _langevin_series(terms):
  """Solves 2 z y' = 1 - z y^2 - 3 y for y = (coth(r) - 1/r) / r and z = r^2."""
  found = [1 / 3]
  for k in range(1, terms):
    square = sum(a * b for a, b in zip(found, reversed(found), strict=True))
    found.append(-square / (2 * k + 3))
  return found


_SINHC = _Quotient(
  _sinh,
  lambda r2, y: y / 2 * ((jnp.sqrt(r2 + (1 / y) ** 2) - 1) / r2),
  [1 / math.factorial(2 * k + 1) for k in range(11)],
  below=1.0,
  slope_below=1.0,
)
_ASINHC = _Quotient(
  lambda xp, r: xp.arcsinh(r),
  lambda r2, y: (1 / jnp.sqrt(1 + r2) - y) / (2 * r2),
  [(-0.25) ** k * math.comb(2 * k, k) / (2 * k + 1) for k in range(26)],
  below=1 / 64,
  slope_below=1 / 4,
)
_LANGEVINC = _Quotient(
  lambda xp, r: 1 / xp.tanh(r) - 1 / r,
  lambda r2, y: (1 / r2 - (1 / _sinh(jnp, jnp.sqrt(r2))) ** 2 - y) / (2 * r2),
  _langevin_series(19),
  below=1 / 64,
  slope_below=1.0,
)


def _quotient(kind, r2):
  """Computes a quotient, by its power series if r2 is small."""
  if namespace(r2) is jnp:
    return _differentiable(kind, r2)
  return _value(np, kind, r2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _differentiable(kind, r2):
  return _value(jnp, kind, r2)


@_differentiable.defjvp
def _derivative(kind, primals, tangents):
  (r2,), (change,) = primals, tangents
  value = _differentiable(kind, r2)
  below = kind.slope_below
  small = r2 < below
  series = [k * c for k, c in enumerate(kind.series)][1:]
  rise = jnp.where(
    small,
    _sum(jnp, series, below, jnp.where(small, r2, 0)),
    kind.slope(jnp.where(small, below, r2), jnp.where(small, 1, value)),
  )
  return value, rise * change


def _value(xp, kind, r2):
  small = r2 < kind.below
  series = _sum(xp, kind.series, kind.below, xp.where(small, r2, 0))
  r = xp.sqrt(xp.where(small, kind.below, r2))
  return xp.where(small, series, kind.function(xp, r) / r)


def _sum(xp, series, below, r2):
  """Sums a power series, as far as its terms count in the dtype of r2."""
  rounding = float(xp.finfo(xp.result_type(r2)).eps) / 8
  *rest, last = (
    c for k, c in enumerate(series) if abs(c) * below**k > rounding
  )
  total = xp.full_like(r2, last)
  for coefficient in reversed(rest):
    total = total * r2 + coefficient
  return total
