"""Numbers of the published code, in float64 (tests/golden/README.md)."""

import decimal
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import lorentz

_FILE = pathlib.Path(__file__).parents[1] / "golden" / "lorentz_float64.npz"
CASES = [f"c{i}_s{j}" for i in range(5) for j in range(4)]
# The published lift stops at sqrt(c) |v| = asinh(2^15); ours has no bound.
PUBLISHED_REACH = np.arcsinh(2.0**15)


@pytest.fixture(scope="module")
def golden():
  with np.load(_FILE) as arrays:
    return dict(arrays)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def _load(golden, case):
  x, y, curv = (jnp.asarray(golden[f"{case}/{k}"]) for k in ("x", "y", "curv"))
  return x, y, curv, lambda key: golden[f"{case}/{key}"]


@jax.jit
def _all_pairs(x, y, curv):
  return lorentz.dist(x[:, None], y[None, :], curv)


_pairwise_dist = jax.jit(lorentz.pairwise_dist)
_exterior_angle = jax.jit(lorentz.exterior_angle)
_pairwise_exterior_angle = jax.jit(lorentz.pairwise_exterior_angle)


def _assert_close(actual, expected, rtol=1e-9):
  """To `rtol` of the largest entry: single entries may be near zero."""
  atol = rtol * np.abs(expected).max()
  np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def test_every_key_is_tested(golden):
  keys = {key.split("/")[1] for key in golden}
  assert {key.split("/")[0] for key in golden} == set(CASES)
  assert keys == {
    *("x", "y", "curv", "pairwise_inner", "pairwise_dist"),
    *("dist_sum_grad_x", "dist_sum_grad_y", "dist_sum_grad_curv"),
    *("exp_map0_x", "log_map0_x", "half_aperture_x", "exterior_angle_xy"),
  }


@pytest.mark.parametrize("case", CASES)
def test_values(golden, case):
  x, y, curv, expected = _load(golden, case)
  np.testing.assert_allclose(
    lorentz.pairwise_inner(x, y, curv), expected("pairwise_inner"), rtol=1e-9
  )
  for function in (_pairwise_dist, _all_pairs):
    np.testing.assert_allclose(
      function(x, y, curv), expected("pairwise_dist"), rtol=1e-9
    )
  np.testing.assert_allclose(
    lorentz.logmap0(x, curv), expected("log_map0_x"), rtol=1e-9
  )
  within = jnp.sqrt(curv) * jnp.linalg.norm(x, axis=-1) < PUBLISHED_REACH
  assert within.all() or case == "c4_s3"
  np.testing.assert_allclose(
    lorentz.expmap0(x, curv)[within], expected("exp_map0_x")[within], rtol=1e-9
  )


@pytest.mark.parametrize("case", CASES)
def test_angles(golden, case):
  x, y, curv, expected = _load(golden, case)
  np.testing.assert_allclose(
    lorentz.half_aperture(x, curv),
    expected("half_aperture_x"),
    rtol=0,
    atol=1e-7,
  )
  for angle in (
    _exterior_angle(x, y, curv),
    jnp.diag(_pairwise_exterior_angle(x, y, curv)),
  ):
    np.testing.assert_allclose(
      angle, expected("exterior_angle_xy"), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("function", [_pairwise_dist, _all_pairs])
@pytest.mark.parametrize("case", CASES)
def test_gradients(golden, case, function):
  x, y, curv, expected = _load(golden, case)
  grad = jax.grad(lambda *args: function(*args).sum(), (0, 1, 2))
  grad_x, grad_y, grad_curv = grad(x, y, curv)
  _assert_close(grad_x, expected("dist_sum_grad_x"))
  _assert_close(grad_y, expected("dist_sum_grad_y"))
  # Next to the root (s0) space is flat, d hardly depends on c, and the
  # published form cancels: it keeps 6 digits, see the next test.
  rtol = 1e-6 if case.endswith("s0") else 1e-9
  _assert_close(grad_curv, expected("dist_sum_grad_curv"), rtol)


@pytest.mark.parametrize("case", [c for c in CASES if c.endswith("s0")])
def test_curvature_gradient_next_to_the_root_in_60_digits(golden, case):
  x, y, curv, _ = _load(golden, case)
  grad = jax.grad(lambda c: _all_pairs(x, y, c).sum())(curv)
  with decimal.localcontext(prec=60):
    step, c = decimal.Decimal("1e-15"), decimal.Decimal(float(curv))
    above, below = _exact_sum(x, y, c + step), _exact_sum(x, y, c - step)
    exact = float((above - below) / (2 * step))
  _assert_close(grad, exact)


def _exact_sum(x, y, c):
  """Sum of acosh(-c <x, y>) / sqrt(c) over all pairs, in decimals."""
  x, y = ([[decimal.Decimal(v) for v in r] for r in a.tolist()] for a in (x, y))

  def lift(row):
    return [*row, (1 / c + sum(v * v for v in row)).sqrt()]

  total = decimal.Decimal(0)
  for *a, t_a in map(lift, x):
    for *b, t_b in map(lift, y):
      cosh = c * (t_a * t_b - sum(p * q for p, q in zip(a, b, strict=True)))
      total += (cosh + (cosh * cosh - 1).sqrt()).ln()
  return total / c.sqrt()
