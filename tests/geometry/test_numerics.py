"""The building blocks, at the places where they change branch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import numerics

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
  [(numerics.sinhc, np.sinh), (numerics.asinhc, np.arcsinh)],
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
    found = np.asarray(1 + r2 * numerics.langevinc(r2))
    error = found / (r / np.tanh(r)) - 1
    assert np.abs(error).max() < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize(
  ("function", "at_zero"),
  [
    (numerics.sinhc, (1, 1 / 6, 1 / 60)),
    (numerics.asinhc, (1, -1 / 6, 3 / 20)),
    (numerics.coshm1, (0, 1 / 2, 1 / 12)),
    (numerics.langevinc, (1 / 3, -1 / 45, 4 / 945)),
    (numerics.squared_acosh1p, (0, 2, -2 / 3)),
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
    numerics.sinhc: (np.sinh(r), np.cosh(r)),
    numerics.asinhc: (np.arcsinh(r), 1 / np.sqrt(1 + r**2)),
    numerics.langevinc: (
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
      most = 512 if function is numerics.langevinc else 64
      assert error.max() < most * np.finfo(dtype).eps, function


@pytest.mark.parametrize("function", [numerics.sinhc, numerics.asinhc])
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
    error = numerics.acosh1p(u) / exact - 1
    assert np.abs(error).max() < 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(
      jax.vmap(jax.grad(numerics.acosh1p))(u), 1 / np.sinh(a), rtol=1e-5
    )


@pytest.mark.parametrize("function", [numerics.sqrt, numerics.acosh1p])
def test_zero_with_zero_derivatives_up_to_zero(function):
  for value in _derivatives(function, jnp.asarray([0.0, -0.0, -1e-8, -3.0])):
    np.testing.assert_array_equal(value, 0)


def test_norm():
  x = jnp.asarray([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0]])
  np.testing.assert_allclose(numerics.norm(x), [5, 0, 1e-15], rtol=1e-6)
  grad = jax.grad(lambda x: numerics.norm(x).sum())(x)
  np.testing.assert_allclose(grad, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
  hessian = jax.jit(jax.hessian(numerics.norm))(jnp.zeros(2))
  np.testing.assert_array_equal(hessian, 0)


def test_atan2_at_every_scale():
  # x^2 + y^2 and its square leave float32 on both sides of this range.
  scale = jnp.asarray([1e-25, 1e-10, 1.0, 1e10, 1e25])
  y, x = 0.6 * scale, -0.8 * scale
  grad = jax.grad(numerics.atan2, (0, 1))
  np.testing.assert_allclose(numerics.atan2(y, x), np.arctan2(0.6, -0.8), 1e-6)
  for slope, expected in zip(jax.vmap(grad)(y, x), (-0.8, -0.6), strict=True):
    np.testing.assert_allclose(slope * scale, expected, rtol=1e-6)
  y, x, scale = y[1:4], x[1:4], scale[1:4]  # 1 / scale^2 is in float32
  hessian = jax.jit(jax.vmap(jax.jacobian(grad, (0, 1))))(y, x)
  expected = ((0.96, -0.28), (-0.28, -0.96))
  np.testing.assert_allclose(
    jnp.moveaxis(jnp.asarray(hessian), -1, 0) * (scale**2)[:, None, None],
    np.broadcast_to(expected, (3, 2, 2)),
    rtol=1e-5,
  )


def test_atan2_axes_and_origin():
  zero, one = jnp.zeros(()), jnp.ones(())
  assert numerics.atan2(zero, one) == 0
  assert numerics.atan2(zero, -one) == np.float32(np.pi)
  assert numerics.atan2(one, zero) == np.float32(np.pi / 2)
  for y, x in ((zero, zero), (zero, -zero)):
    value, grad = jax.value_and_grad(numerics.atan2, (0, 1))(y, x)
    assert (value, *grad) == (0, 0, 0)
