"""What float32 costs, against float64 on the very same coordinates.

EPS is the spacing of float32 at 1. Tolerances are the conditioning of the
problem times a few EPS: rounding its coordinates alone moves a point at radius
r by up to EPS/2 cosh(r) (curvature -1).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import boosts, hyperplanes, lorentz, means

EPS = float(np.finfo(np.float32).eps)
# The table of the design notes: random directions, dim 512, curvature -1.
# radius, distance, median relative error of the matmul and of `dist`.
BUDGET = [
  (0.5, 1e-2, 4e-4, 7e-8),
  (1.0, 1e-2, 2e-3, 7e-8),
  (1.0, 1.0, 2e-7, 6e-8),
  (2.0, 3.0, 4e-7, 3e-9),
  (4.0, 1.0, 1e-4, 6e-8),
  (8.0, 10.0, 3e-2, 3e-7),
]
RADII = (0.5, 1.0, 2.0, 4.0, 8.0)


def _random_pairs(radius, distance, count=64, dim=512):
  """Pairs in float32; the geodesics leave in uniform random directions."""
  rng = np.random.default_rng(0)
  unit = [rng.normal(size=(count, dim)) for _ in range(2)]
  n, w = (u / np.linalg.norm(u, axis=-1, keepdims=True) for u in unit)
  radial = np.sum(n * w, axis=-1, keepdims=True)
  # A unit tangent vector: its radial part is longer by the time component.
  v = w + (np.cosh(radius) - 1) * radial * n
  x = np.sinh(radius) * n
  y = np.cosh(distance) * x + np.sinh(distance) * v
  return x.astype(np.float32), y.astype(np.float32)


def _in_both(function, x, y):
  """function(x, y) in float32, in float64 from the same coordinates."""
  single = function(jnp.asarray(x), jnp.asarray(y))
  with jax.enable_x64(True):
    double = function(*(jnp.asarray(a, jnp.float64) for a in (x, y)))
    assert double.dtype == jnp.float64
  assert single.dtype == jnp.float32
  return np.asarray(single, np.float64), np.asarray(double)


def _max_distance(a, b):
  """Largest distance of rows of float64 arrays."""
  with jax.enable_x64(True):
    return float(jnp.max(lorentz.dist(jnp.asarray(a), jnp.asarray(b), 1.0)))


def _length(v, x):
  """Length of the tangent vectors v at x, both in numpy."""
  x = x.astype(np.float64)
  v_time = np.sum(v * x, axis=-1) / np.sqrt(1 + np.sum(x * x, axis=-1))
  return np.sqrt(np.sum(v * v, axis=-1) - v_time**2)


_dist = jax.jit(functools.partial(lorentz.dist, curv=1.0))
_angle = jax.jit(functools.partial(lorentz.exterior_angle, curv=1.0))
_logmap = jax.jit(functools.partial(lorentz.logmap, curv=1.0))


@jax.jit
def _dist_by_matmul(x, y):
  return jnp.diag(lorentz.pairwise_dist(x, y, 1.0))


@jax.jit
def _dist_gradient(x, y):
  return jax.grad(lambda x: jnp.sum(lorentz.dist(x, y, 1.0)))(x)


@jax.jit
def _between(x, y):
  return lorentz.geodesic(x, y, 0.3, 1.0)


@jax.jit
def _mean(x, y):
  return lorentz.centroid(jnp.stack([x, y], axis=1), 1.0)


@pytest.mark.parametrize(("radius", "distance", "matmul", "exact"), BUDGET)
def test_error_budget(radius, distance, matmul, exact):
  x, y = _random_pairs(radius, distance)
  truth = _in_both(_dist, x, y)[1]
  np.testing.assert_allclose(truth, distance, rtol=1e-3)  # the pairs are right
  # The sum inside a matrix product is good to 6e-8 or 2.5e-7, as its blocks
  # fall. No result is better than the rounding of its last operation.
  error = np.abs(_in_both(_dist_by_matmul, x, y)[0] / truth - 1)
  assert np.median(error) < 4 * matmul
  error = np.abs(_in_both(_dist, x, y)[0] / truth - 1)
  assert np.median(error) < 1.25 * max(exact, EPS / 2)


@pytest.mark.parametrize("distance", [1e-6, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("radius", [1e-6, 1e-3, 0.5, 2.0])
def test_short_distances_and_their_gradients(radius, distance, make_pair):
  for angle in (0.0, 1.0, np.pi):
    x, y = make_pair(1.0, radius, distance, angle, 512, 16)
    x, y = x.astype(np.float32), y.astype(np.float32)
    if angle == np.pi and distance == radius:
      continue  # y is the root: see the tests of dist0
    single, double = _in_both(_dist, x, y)
    np.testing.assert_allclose(single, double, rtol=4 * EPS)
    single, double = _in_both(_dist_gradient, x, y)
    scale = np.linalg.norm(double, axis=-1)
    error = np.linalg.norm(single - double, axis=-1) / scale
    assert error.max() < 8 * EPS


@pytest.mark.parametrize("radius", RADII)
def test_angles_are_as_good_as_their_inputs(radius, make_pair):
  tolerance = EPS * (3 + 4 * np.cosh(radius))
  for distance in (1e-3, 1e-2, 1.0, 3.0):
    for angle in (0.0, 1e-3, 0.5, np.pi / 2, np.pi - 1e-3, np.pi):
      x, y = make_pair(1.0, radius, distance, angle, 512, 16)
      x, y = x.astype(np.float32), y.astype(np.float32)
      single, double = _in_both(_angle, x, y)
      np.testing.assert_allclose(single, double, rtol=0, atol=tolerance)


def test_small_angles_decide_cones_far_out(make_pair):
  """Half an aperture inside and outside the rim of the cone."""
  for radius in (1.0, 4.0, 6.0):
    x, _ = make_pair(1.0, radius, 0.0, 0.0)
    aperture = float(np.arcsin(0.2 / np.linalg.norm(x)))
    for factor in (0.5, 1.5):
      pair = make_pair(1.0, radius, 1.0, factor * aperture, 512, 16)
      x, y = (jnp.asarray(a, jnp.float32) for a in pair)
      inside = _angle(x, y) <= lorentz.half_aperture(x, 1.0)
      assert bool(jnp.all(inside == (factor < 1)))


@pytest.mark.parametrize("radius", RADII)
def test_points_and_tangents_are_as_good_as_their_inputs(radius, make_pair):
  for distance in (1e-2, 1.0, 5.0):
    for angle in (0.0, 0.5, np.pi / 2, np.pi):
      x, y = make_pair(1.0, radius, distance, angle, 512, 16)
      x, y = x.astype(np.float32), y.astype(np.float32)
      for function in (_between, _mean):
        single, double = _in_both(function, x, y)
        farthest = np.sqrt(1 + np.max(np.sum(double**2, axis=-1)))
        assert _max_distance(single, double) < 2 * EPS * farthest
      single, double = _in_both(_logmap, x, y)
      error = _length(single - double, x)
      assert (error / distance).max() < 4 * EPS * np.cosh(radius)


def test_round_trip_from_the_root():
  v = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
  v *= (np.logspace(-6, 1, 64) / np.linalg.norm(v, axis=-1))[:, None]
  v = jnp.asarray(v.astype(np.float32))
  for curv in (0.1, 1.0, 2.5):
    back = lorentz.logmap0(lorentz.expmap0(v, curv), curv)
    length = np.sqrt(curv) * np.linalg.norm(v, axis=-1, keepdims=True)
    # sinh turns a rounding error of its argument a into a of them.
    assert np.all(np.abs(back - v) <= (3 + length) * EPS * np.abs(v) * 2)


_NORMALS = np.sin(np.arange(512 * 8)).reshape(512, 8).astype(np.float32)
_OFFSETS = np.linspace(-0.5, 0.5, 8, dtype=np.float32)


# Up to distance 10 from the root what layers compute is good to 3e-6.
def _layers(x, y):
  # The same hyperplanes in both precisions: 10 from the root, a rounding error
  # of an offset moves a point on its hyperplane by thousands of them.
  z = jnp.asarray(_NORMALS, x.dtype)
  r = jnp.asarray(_OFFSETS, x.dtype)
  return {
    "dist": lorentz.dist(x, y, 1.0)[:, None],
    "logmap0": lorentz.logmap0(x, 1.0),
    "expmap0": lorentz.expmap0(lorentz.logmap0(y, 1.0), 1.0),
    "logits": hyperplanes.logits(x, z / 100, r, 1.0),
    "fully_connected": hyperplanes.fully_connected(x, z / 100, r, 1.0),
    "midpoint": lorentz.centroid(jnp.stack([x, y], axis=1), 1.0),
  }


def _dict_in_both(function, x, y):
  """function(x, y) in float32, and in float64 from the same coordinates."""
  found = jax.jit(function)(jnp.asarray(x), jnp.asarray(y))
  with jax.enable_x64(True):
    exact = jax.jit(function)(*(jnp.asarray(a, jnp.float64) for a in (x, y)))
  return {k: (np.asarray(found[k], float), np.asarray(exact[k])) for k in exact}


@pytest.mark.parametrize("radius", [1e-3, 0.5, 2.0, 6.0, 10.0])
def test_what_layers_compute(radius):
  x, _ = _random_pairs(radius, 1.0)
  y, _ = _random_pairs(0.7 * radius, 1.0)
  for name, (a, b) in _dict_in_both(_layers, x, y[::-1].copy()).items():
    error = np.linalg.norm(a - b, axis=-1)
    assert np.max(error / np.linalg.norm(b, axis=-1)) < 3e-6, name


def _sums(x, y):
  """What loses digits as cosh of the radius in any coordinates."""
  seen = boosts.add(-x, y, 1.0)
  return {
    "seen": seen,
    "moved": boosts.add(x, seen, 1.0),
    "turned": boosts.gyration(x, -y, seen, 1.0),
    "mean": means.frechet_mean(jnp.stack([x, y], axis=1), 1.0),
  }


@pytest.mark.parametrize("radius", RADII)
def test_sums_are_as_good_as_their_inputs(radius):
  found = _dict_in_both(_sums, *_random_pairs(radius, 1.0))
  for name in ("seen", "moved", "turned"):
    a, b = found[name]
    error = np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)
    assert np.max(error) < 4 * EPS * np.cosh(radius) ** 2, name
  assert _max_distance(*found["mean"]) < 8 * EPS * np.cosh(radius)
