"""Hyperbolic functions, at the places where they change branch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import elementary, numerics

SEAMS = np.array([1 / 64, 1 / 4, 1.0])  # r2 at which power series hand over
DTYPES = ("float32", "float64")


def _derivatives(function, points):
  """Value, first and second derivative at 1-d points."""
  first = jax.grad(function)
  three = jax.vmap(lambda u: (function(u), first(u), jax.grad(first)(u)))
  return list(map(np.asarray, jax.jit(three)(points)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
  ("function", "reference"),
  [(elementary.sinhc, np.sinh), (elementary.asinhc, np.arcsinh)],
)
def test_quotients_to_a_few_ulp(function, reference, dtype):
  with jax.enable_x64(dtype == "float64"):
    r = np.concatenate(
      [
        10.0 ** np.arange(-12, 1),
        np.add.outer(np.sqrt(SEAMS), np.r_[-1:1:9j] / 50).ravel(),
      ]
    )
    r2 = jnp.asarray(r**2, dtype)
    exact_r = np.sqrt(np.asarray(r2, np.float64))
    error = function(r2) / (reference(exact_r) / exact_r) - 1
    assert np.abs(error).max() < 4 * np.finfo(dtype).eps
    assert function(jnp.zeros((), dtype)) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_r_coth_r_to_a_few_ulp(dtype):
  with jax.enable_x64(dtype == "float64"):
    seams = np.outer(SEAMS, [0.9, 1, 2]).ravel()
    r2 = jnp.asarray(np.r_[10.0 ** np.arange(-12, 8), seams]).astype(dtype)
    r = np.sqrt(np.asarray(r2, np.longdouble))
    found = np.asarray(1 + r2 * elementary.langevinc(r2))
    error = found / (r / np.tanh(r)) - 1
    assert np.abs(error).max() < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize(
  ("function", "at_zero"),
  [
    (elementary.sinhc, (1, 1 / 6, 1 / 60)),
    (elementary.asinhc, (1, -1 / 6, 3 / 20)),
    (elementary.coshm1, (0, 1 / 2, 1 / 12)),
    (elementary.langevinc, (1 / 3, -1 / 45, 4 / 945)),
    (elementary.squared_acosh1p, (0, 2, -2 / 3)),
  ],
)
def test_smooth_at_zero_and_across_the_seam(function, at_zero):
  with jax.enable_x64(True):
    # squared_acosh1p and coshm1 have their seams at 2 and at 4 times r2.
    seams = np.outer([1, 2, 4], SEAMS).reshape(-1, 1) * [1 - 1e-9, 1 + 1e-9]
    points = jnp.asarray([0.0, *seams.ravel()])
    for value, expected in zip(
      _derivatives(function, points), at_zero, strict=True
    ):
      np.testing.assert_allclose(value[0], expected, rtol=1e-15)
      # The quotients lose eps / r2 per derivative.
      np.testing.assert_allclose(value[1::2], value[2::2], rtol=1e-7)


def _slopes(r):
  """Derivatives by r^2 of sinh, asinh and the Langevin function over r."""
  even = {
    elementary.sinhc: (np.sinh(r), np.cosh(r)),
    elementary.asinhc: (np.arcsinh(r), 1 / np.sqrt(1 + r**2)),
    elementary.langevinc: (
      1 / np.tanh(r) - 1 / r,
      1 / r**2 - 1 / np.sinh(r) ** 2,
    ),
  }
  return {f: (slope - y / r) / (2 * r**2) for f, (y, slope) in even.items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_of_quotients(dtype):
  with jax.enable_x64(dtype == "float64"):
    r2 = jnp.asarray(np.geomspace(0.01, 1600, 500), dtype)
    exact = _slopes(np.sqrt(np.asarray(r2, np.longdouble)))
    for function, wanted in exact.items():
      found = jax.jit(jax.vmap(jax.grad(function)))(r2)
      error = np.abs(np.asarray(found) / wanted - 1)
      # An exponential is as far off as its argument, up to 40; langevinc, with
      # a difference of 0.04 at 1, is for derivatives of higher order.
      most = 512 if function is elementary.langevinc else 64
      assert error.max() < most * np.finfo(dtype).eps, function


@pytest.mark.parametrize("function", [elementary.sinhc, elementary.asinhc])
def test_quotients_where_they_overflow(function):
  r2 = jnp.asarray([1e-45, 1600.0, 7000.0, 1e30, 3e38])
  value, first, second = _derivatives(function, r2)
  assert not np.isnan([value, first]).any()
  assert np.isfinite([value[:3], first[:3], second[:3]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_acosh1p_keeps_short_distances(dtype):
  with jax.enable_x64(dtype == "float64"):
    a = 10.0 ** np.arange(-10, 2)
    u = jnp.asarray(2 * np.sinh(a / 2) ** 2, dtype)
    exact = 2 * np.arcsinh(np.sqrt(np.asarray(u, np.float64) / 2))
    error = elementary.acosh1p(u) / exact - 1
    assert np.abs(error).max() < 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(
      jax.vmap(jax.grad(elementary.acosh1p))(u), 1 / np.sinh(a), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_sinh_cosh_and_asinh_to_a_few_ulp(dtype):
  with jax.enable_x64(dtype == "float64"):
    size = np.r_[
      0, 10.0 ** np.arange(-30, 1), 1 + SEAMS, np.linspace(1, 40, 99)
    ]
    x = jnp.asarray(np.r_[-size, size], dtype)
    exact = np.asarray(x, np.longdouble)
    sinh, cosh = elementary.sinh_and_cosh(x)
    eps = np.finfo(dtype).eps
    # XLA's expm1 is as far off as rounding its argument makes it.
    for found, wanted in ((sinh, np.sinh(exact)), (cosh, np.cosh(exact))):
      error = np.abs(np.asarray(found) - wanted)
      assert (error <= (4 + np.abs(exact)) * eps * np.abs(wanted)).all()
    x = jnp.concatenate([x, x * 1e15, x * 1e25])
    exact = np.arcsinh(np.asarray(x, np.longdouble))
    error = np.abs(np.asarray(elementary.asinh(x)) - exact)
    assert (error <= 3 * eps * np.abs(exact)).all()
    assert not np.signbit(elementary.asinh(jnp.zeros((), dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_of_sinh_cosh_and_asinh(dtype):
  with jax.enable_x64(dtype == "float64"):
    x = np.r_[0, 1e-20, 1e-3, 0.5, 1, 3, 9]
    x = jnp.asarray(np.r_[-x, x], dtype)
    exact = np.asarray(x, np.longdouble)
    sinh, cosh, root = np.sinh(exact), np.cosh(exact), np.sqrt(1 + exact**2)
    for function, *wanted in (
      (lambda x: elementary.sinh_and_cosh(x)[0], sinh, cosh, sinh),
      (lambda x: elementary.sinh_and_cosh(x)[1], cosh, sinh, cosh),
      (elementary.asinh, np.arcsinh(exact), 1 / root, -exact / root**3),
    ):
      for found, truth in zip(_derivatives(function, x), wanted, strict=True):
        np.testing.assert_allclose(found, truth, 16 * np.finfo(dtype).eps)


def test_sinh_and_cosh_where_they_overflow():
  x = jnp.asarray([-jnp.inf, -89.5, 89.5, jnp.inf])
  sinh, cosh = elementary.sinh_and_cosh(x)
  np.testing.assert_array_equal(sinh, np.sign(x) * np.inf)
  np.testing.assert_array_equal(cosh, np.inf)
  assert np.isnan(elementary.sinh_and_cosh(jnp.full(1, jnp.nan))).all()


def test_asinh_where_squares_overflow():
  x = jnp.asarray([-5e37, -1e20, 1e19, 2e19, 3e37, 3e38])
  value, first, second = _derivatives(elementary.asinh, x)
  np.testing.assert_allclose(value, np.arcsinh(np.float64(x)), rtol=3e-7)
  # The last slope is subnormal.
  np.testing.assert_allclose((first * x)[:-1], np.sign(x)[:-1], rtol=3e-7)
  assert np.isfinite([first, second]).all()


@pytest.mark.parametrize("function", [numerics.sqrt, elementary.acosh1p])
def test_zero_with_zero_derivatives_up_to_zero(function):
  for value in _derivatives(function, jnp.asarray([0.0, -0.0, -1e-8, -3.0])):
    np.testing.assert_array_equal(value, 0)
