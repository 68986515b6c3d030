"""Hyperbolic functions whose values and derivatives stay finite.

Functions that are even in a length r take its square `r2`: they are smooth in
r2 at 0, where r itself, being a square root, is not. Derivatives reuse the
value, which takes fewer operations than JAX's and keeps more digits.

Each takes JAX arrays, traced or not, and where nothing else is said NumPy
arrays, too, which stay on the host.
"""

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry.numerics import Array, namespace, sqrt


def sinh_and_cosh(
  x: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
  """Computes sinh(x) and cosh(x) of a JAX array, by one exponential.

  Examples:
    >>> sinh, cosh = sinh_and_cosh(jnp.float32(1e-10))
    >>> print(sinh, cosh)
    1e-10 1.0
  """
  return _sinh_and_cosh(x)


@jax.custom_jvp
def _sinh_and_cosh(x):
  grown = jnp.expm1(jnp.abs(x))
  # 1 - exp(-|x|), also where the exponential overflows
  shrunk = jnp.where(jnp.isinf(grown), 1, grown / (1 + grown))
  sinh = (grown + shrunk) / 2
  return jnp.where(x < 0, -sinh, sinh), 1 + grown * shrunk / 2


@_sinh_and_cosh.defjvp
def _change_of_sinh_and_cosh(primals, tangents):
  (change,) = tangents
  sinh, cosh = _sinh_and_cosh(*primals)
  return (sinh, cosh), (cosh * change, sinh * change)


def asinh(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes asinh(x); it has a slope where x^2 overflows.

  Examples:
    >>> asinh(jnp.float32(1e30)).round(2)
    Array(69.77, dtype=float32)
    >>> (1e30 * jax.grad(asinh)(1e30)).round(2)
    Array(1., dtype=float32, weak_type=True)
  """
  return np.arcsinh(x) if namespace(x) is np else _asinh(x)


@jax.custom_jvp
def _asinh(x):
  size = jnp.abs(x)
  far = size > float(jnp.finfo(jnp.result_type(x)).max) ** 0.5
  grown = jnp.where(far, size, _grown(jnp, jnp.where(far, 1, size)))
  value = jnp.log1p(grown) + jnp.where(far, math.log(2), 0)
  return jnp.where(x < 0, -value, value)


@_asinh.defjvp
def _change_of_asinh(primals, tangents):
  (x,), (change,) = primals, tangents
  # 1 / sqrt(1 + x^2), where x^2 may overflow and 1 / x be subnormal.
  largest = float(jnp.finfo(jnp.result_type(x)).max) / 16
  unit = 1 / jnp.clip(jnp.abs(x), 1, largest)
  slope = unit * jax.lax.rsqrt(unit**2 + (unit * x) ** 2)
  return _asinh(x), slope * change


def _grown(xp, r):
  """Computes exp(asinh(r)) - 1 for r >= 0 whose squares are finite."""
  return r + r * (r / (1 + xp.sqrt(1 + r * r)))


def acosh1p(u: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes acosh(1 + u) without forming 1 + u.

  The value and the gradient are 0 where u <= 0.

  Examples:
    >>> round(float(acosh1p(jnp.float32(1e-12))) * 1e6, 3)  # sqrt(2e-12)
    1.414
  """
  return 2 * asinh(sqrt(u / 2))


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
  lambda xp, r: xp.log1p(_grown(xp, r)),
  lambda r2, y: (1 / jnp.sqrt(1 + r2) - y) / (2 * r2),
  [(-0.25) ** k * math.comb(2 * k, k) / (2 * k + 1) for k in range(26)],
  below=1 / 64,
  slope_below=1 / 4,
)
_LANGEVINC = _Quotient(
  lambda xp, r: 1 / xp.tanh(r) - 1 / r,
  lambda r2, y: (1 / r2 - (1 / _sinh(jnp, jnp.sqrt(r2))) ** 2 - y) / (2 * r2),
  _langevin_series(19),
  below=1.0,
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
