"""The ball against the hyperboloid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax import geometry
from hyperclip_jax.geometry import lorentz, poincare

CURVS = (0.1, 0.5, 1.0, 2.5)
# 1 - c |p|^2 is about 4 exp(-sqrt(c) r): in float64 it keeps 12 digits at 6.
REACH = 6.0


@pytest.fixture(scope="module", params=CURVS)
def points(request, make_pair):
  """(x, y, curv, distances), radius and distance up to REACH together."""
  curv = request.param
  lengths = np.asarray([0, 1e-6, 1e-2, 0.5, 1]) * REACH / 2 / np.sqrt(curv)
  pairs = [
    (*make_pair(curv, r, d, angle, count=3), d)
    for r in lengths
    for d in lengths
    for angle in (0.0, 1.0, np.pi)
  ]
  x, y = (np.concatenate([p[i] for p in pairs]) for i in (0, 1))
  return x, y, curv, np.repeat([p[2] for p in pairs], 3)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def test_public_modules():
  assert geometry.lorentz is lorentz
  assert geometry.poincare is poincare


def test_round_trip_and_radius(points):
  x, _, curv, _ = points
  x = jnp.asarray(x)
  p = poincare.from_lorentz(x, curv)
  np.testing.assert_allclose(poincare.to_lorentz(p, curv), x, rtol=1e-12)
  radius = np.tanh(np.sqrt(curv) * lorentz.dist0(x, curv) / 2) / np.sqrt(curv)
  np.testing.assert_allclose(jnp.linalg.norm(p, axis=-1), radius, rtol=1e-13)


def test_distance_agrees_with_lorentz(points):
  x, y, curv, distance = points
  x, y = jnp.asarray(x), jnp.asarray(y)
  p, q = (poincare.from_lorentz(a, curv) for a in (x, y))
  # Coordinates of points 1e-6 apart and of size 1 hold 10 digits of it.
  atol = 1e-14
  np.testing.assert_allclose(poincare.dist(p, q, curv), distance, 1e-11, atol)
  np.testing.assert_allclose(
    poincare.dist(p, q, curv), lorentz.dist(x, y, curv), 1e-11, atol
  )


def test_half_as_long_at_the_root():
  jacobian = jax.jacobian(poincare.from_lorentz)(jnp.zeros(3), 2.5)
  np.testing.assert_array_equal(jacobian, np.eye(3) / 2)


def test_zero_gradient_at_identical_points():
  p = jnp.asarray([0.3, -0.2, 0.1])
  grad = jax.grad(poincare.dist, (0, 1, 2))(p, p, jnp.asarray(1.0))
  assert all(not np.any(g) for g in grad)
