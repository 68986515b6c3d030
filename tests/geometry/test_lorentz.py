"""The Lorentz model against trigonometry and the axioms of its geometry."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax import geometry
from hyperclip_jax.geometry import boosts, stable

CURVS = (0.1, 0.5, 1.0, 2.5)
LENGTHS = (0.0, 1e-6, 1e-2, 1.0, 3.0)
ANGLES = (0.0, 1e-3, 0.5, np.pi / 2, 3.0, np.pi)


# The public functions, compiled: once for all curvatures, and with the fusions
# that users get.
POINTWISE = ["time", "dist0", "expmap0", "logmap0", "half_aperture", "centroid"]
OF_PAIRS = ["inner", "dist", "expmap", "logmap", "exterior_angle", "ptransp"]
OF_PAIRS += ["geodesic"]
PAIRWISE = [f"pairwise_{name}" for name in ("inner", "dist", "exterior_angle")]
lorentz = types.SimpleNamespace(
  **{
    name: jax.jit(getattr(geometry.lorentz, name))
    for name in (*POINTWISE, *OF_PAIRS, *PAIRWISE)
  }
)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture(params=CURVS)
def curv(request):
  return request.param


def _points(curv, count=40, dim=5, seed=0, reach=3.0):
  """Points in random directions with radii up to reach / sqrt(c)."""
  rng = np.random.default_rng(seed)
  v = rng.normal(size=(count, dim))
  v *= rng.uniform(0, reach, (count, 1)) / np.linalg.norm(v, axis=-1)[:, None]
  return lorentz.expmap0(jnp.asarray(v / np.sqrt(curv)), curv)


def _tangents(count=40, dim=5, seed=1):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


def _tangent_inner(x, u, v, curv):
  t = lorentz.time(x, curv)
  times = jnp.sum(x * u, -1) * jnp.sum(x * v, -1) / t**2
  return jnp.sum(u * v, -1) - times


def test_distances_and_angles_of_known_triangles(curv, make_pair):
  unit = 1 / np.sqrt(curv)
  for radius, d, angle in itertools.product(LENGTHS, LENGTHS, ANGLES):
    radius, d = radius * unit, d * unit
    x, y = map(jnp.asarray, make_pair(curv, radius, d, angle, count=3))
    # Rounding the coordinates moves a point by about this much.
    moved = 4e-16 * np.cosh(np.sqrt(curv) * radius) * max(radius, d)
    atol = moved + 1e-15 * d
    np.testing.assert_allclose(lorentz.dist(x, y, curv), d, rtol=0, atol=atol)
    np.testing.assert_allclose(lorentz.dist0(x, curv), radius, rtol=1e-15)
    if radius > 0 and d > 0:
      atol = 1e-15 + 4 * moved / d
      np.testing.assert_allclose(
        lorentz.exterior_angle(x, y, curv), angle, rtol=0, atol=atol
      )


def test_inner_and_time(curv):
  x, y = _points(curv), _points(curv, seed=1)
  np.testing.assert_allclose(lorentz.inner(x, x, curv), -1 / curv, rtol=1e-12)
  cosh = jnp.cosh(np.sqrt(curv) * lorentz.dist(x, y, curv))
  np.testing.assert_allclose(-curv * lorentz.inner(x, y, curv), cosh, 1e-12)
  expected = jnp.cosh(np.sqrt(curv) * lorentz.dist0(x, curv)) / np.sqrt(curv)
  np.testing.assert_allclose(lorentz.time(x, curv), expected, rtol=1e-13)


def test_pairwise_is_elementwise_over_all_pairs(curv):
  x, y = _points(curv, 7), _points(curv, 4, seed=1)
  for pairwise, single in (
    (lorentz.pairwise_inner, lorentz.inner),
    (lorentz.pairwise_dist, lorentz.dist),
    (lorentz.pairwise_exterior_angle, lorentz.exterior_angle),
  ):
    table = pairwise(x, y, curv)
    assert table.shape == (7, 4)
    np.testing.assert_allclose(
      table, single(x[:, None], y[None, :], curv), rtol=1e-11
    )


def test_dist_is_a_metric(curv):
  x, y, z = (_points(curv, 200, seed=s) for s in range(3))
  xy, yz, xz = (lorentz.dist(*p, curv) for p in ((x, y), (y, z), (x, z)))
  assert jnp.all(xy > 0)
  np.testing.assert_array_equal(lorentz.dist(x, x, curv), 0)
  np.testing.assert_array_equal(xy, lorentz.dist(y, x, curv))
  assert jnp.all(xz <= (xy + yz) * (1 + 1e-14))


def test_rotations_and_boosts_leave_distances(curv):
  x, y = _points(curv), _points(curv, seed=1)
  rotation = jnp.asarray(np.linalg.qr(_tangents(5))[0])
  # The boost along the first axis with rapidity 1.3, on (time, space).
  cosh, sinh = np.cosh(1.3), np.sinh(1.3)

  def boost(p):
    first = cosh * p[:, 0] + sinh * lorentz.time(p, curv)
    return p.at[:, 0].set(first)

  expected = lorentz.dist(x, y, curv)
  for move in (lambda p: p @ rotation, boost):
    np.testing.assert_allclose(
      lorentz.dist(move(x), move(y), curv), expected, rtol=1e-12
    )


def test_gradient_of_dist(curv):
  """A unit vector against the geodesic; also at the root, where norms kink."""
  grad = jax.vmap(jax.grad(lorentz.dist, (0, 1)), (0, 0, None))
  x, y = _points(curv), _points(curv, seed=1)
  x = x.at[0].set(0).at[1].set(-y[1])
  grad_x, grad_y = grad(x, y, curv)
  for g, p, q in ((grad_x, x, y), (grad_y, y, x)):
    # Raise the index: the inverse metric is 1 + c p p^T.
    riemannian = g + curv * jnp.sum(p * g, -1, keepdims=True) * p
    d = lorentz.dist(p, q, curv)[:, None]
    np.testing.assert_allclose(
      riemannian, -lorentz.logmap(p, q, curv) / d, rtol=1e-11, atol=1e-11
    )
  np.testing.assert_array_equal(jnp.stack(grad(x, x, curv)), 0)


def test_gradient_of_dist0():
  x = _points(1.0)
  grad = jax.vmap(jax.grad(lorentz.dist0), (0, None))
  to_root = jax.vmap(jax.grad(lorentz.dist), (0, None, None))
  np.testing.assert_allclose(
    grad(x, 1.0), to_root(x, jnp.zeros(5), 1.0), rtol=1e-12
  )
  np.testing.assert_array_equal(grad(jnp.zeros((1, 5)), 1.0), 0)


def test_maps_at_the_root(curv):
  v = _tangents() / np.sqrt(curv)
  x = lorentz.expmap0(v, curv)
  np.testing.assert_allclose(lorentz.logmap0(x, curv), v, rtol=1e-13)
  np.testing.assert_allclose(
    lorentz.dist0(x, curv), jnp.linalg.norm(v, axis=-1), rtol=1e-13
  )
  root = jnp.zeros_like(v)
  np.testing.assert_allclose(lorentz.expmap(root, v, curv), x, rtol=1e-13)
  np.testing.assert_allclose(lorentz.logmap(root, x, curv), v, rtol=1e-13)
  for at_zero in (lorentz.expmap0, lorentz.logmap0):
    np.testing.assert_array_equal(at_zero(root, curv), 0)
    jacobian = jax.jacobian(at_zero)(root[0], curv)
    np.testing.assert_array_equal(jacobian, np.eye(5))


def test_maps_at_a_point(curv):
  x, y = _points(curv), _points(curv, seed=1)
  v = lorentz.logmap(x, y, curv)
  length = jnp.sqrt(_tangent_inner(x, v, v, curv))
  np.testing.assert_allclose(length, lorentz.dist(x, y, curv), rtol=1e-11)
  np.testing.assert_allclose(
    lorentz.expmap(x, v, curv), y, rtol=1e-10, atol=1e-11
  )
  np.testing.assert_array_equal(lorentz.logmap(x, x, curv), 0)
  np.testing.assert_array_equal(lorentz.expmap(x, 0 * x, curv), x)


def test_ptransp(curv):
  x, y = _points(curv), _points(curv, seed=1)
  u, v = _tangents(seed=2), _tangents(seed=3)
  moved_u, moved_v = (lorentz.ptransp(x, y, w, curv) for w in (u, v))
  np.testing.assert_allclose(
    _tangent_inner(y, moved_u, moved_v, curv),
    _tangent_inner(x, u, v, curv),
    rtol=1e-10,
    atol=1e-10,
  )
  # The direction of the geodesic stays the direction of the geodesic.
  along = lorentz.ptransp(x, y, lorentz.logmap(x, y, curv), curv)
  np.testing.assert_allclose(
    along, -lorentz.logmap(y, x, curv), rtol=1e-10, atol=1e-10
  )
  back = lorentz.ptransp(y, x, moved_v, curv)
  np.testing.assert_allclose(back, v, rtol=1e-10, atol=1e-10)
  np.testing.assert_array_equal(lorentz.ptransp(x, x, v, curv), v)


def test_centroid(curv):
  x = _points(curv)
  copies = jnp.broadcast_to(x[:, None], (40, 3, 5))
  np.testing.assert_allclose(lorentz.centroid(copies, curv), x, rtol=1e-14)

  y = _points(curv, seed=1)
  pair = jnp.stack([x, y], axis=1)
  middle = lorentz.geodesic(x, y, 0.5, curv)
  np.testing.assert_allclose(
    lorentz.centroid(pair, curv), middle, rtol=1e-11, atol=1e-12
  )
  first = jnp.asarray(np.tile([2.0, 0.0], (40, 1)))
  np.testing.assert_allclose(lorentz.centroid(pair, curv, first), x, rtol=1e-13)


def test_centroid_minimises_its_energy(curv):
  x = _points(curv, 6)
  weights = jnp.asarray([0.1, 3.0, 1.0, 0.0, 2.0, 0.5])

  def energy(m):
    cosh = jnp.cosh(np.sqrt(curv) * lorentz.dist(x, m[None], curv))
    return jnp.sum(weights * cosh)

  centre = lorentz.centroid(x, curv, weights)
  grad = jax.grad(energy)
  assert jnp.linalg.norm(grad(centre)) < 1e-11 * jnp.linalg.norm(grad(x[0]))
  for step in _tangents(10):
    assert energy(centre + 1e-3 * step) > energy(centre)


def test_geodesic(curv):
  x, y = _points(curv), _points(curv, seed=1)
  y = y.at[0].set(-x[0])
  np.testing.assert_array_equal(lorentz.geodesic(x, y, 0.0, curv), x)
  np.testing.assert_array_equal(lorentz.geodesic(x, y, 1.0, curv), y)
  np.testing.assert_allclose(lorentz.geodesic(x, x, 0.3, curv), x, rtol=1e-15)
  middle = lorentz.geodesic(x, y, 0.5, curv)[0]
  np.testing.assert_allclose(middle, 0, atol=1e-15)
  d = lorentz.dist(x, y, curv)
  for t in (0.2, 0.7):
    point = lorentz.geodesic(x, y, t, curv)
    np.testing.assert_allclose(lorentz.dist(x, point, curv), t * d, 1e-11)
    np.testing.assert_allclose(lorentz.dist(point, y, curv), (1 - t) * d, 1e-11)
    reached = lorentz.expmap(x, t * lorentz.logmap(x, y, curv), curv)
    np.testing.assert_allclose(point, reached, rtol=1e-10, atol=1e-11)
  # One t a row.
  path = lorentz.geodesic(x[1:2], y[1:2], jnp.asarray([0.0, 0.2, 1.0]), curv)
  alone = lorentz.geodesic(x[1], y[1], jnp.asarray(0.2), curv)
  np.testing.assert_allclose(path, jnp.stack([x[1], alone, y[1]]), rtol=1e-15)


def test_half_aperture(curv):
  rim = 0.2 / np.sqrt(curv)
  direction = jnp.asarray([0.6, -0.8])
  value_and_grad = jax.value_and_grad(lorentz.half_aperture, (0, 1))
  for scale in (0.0, 1e-6, 0.5, 1 - 1e-12):
    value, grads = value_and_grad(scale * rim * direction, curv)
    assert value == np.pi / 2
    assert not any(np.any(g) for g in grads)
  for scale in (1 + 1e-9, 1.5, 10.0, 1e5):
    value, (grad, _) = value_and_grad(scale * rim * direction, curv)
    np.testing.assert_allclose(value, np.arcsin(1 / scale), rtol=1e-6)
    slope = -1 / (scale * np.sqrt(scale**2 - 1)) / rim
    np.testing.assert_allclose(grad, slope * direction, rtol=1e-6)
  wide = lorentz.half_aperture(2 * rim * direction, curv, min_radius=0.2)
  np.testing.assert_allclose(wide, np.pi / 2, atol=1e-7)


def test_half_aperture_exactly_at_its_rim():
  for dtype, curv in itertools.product((jnp.float32, jnp.float64), CURVS):
    rim = jnp.asarray([0.2 / np.sqrt(curv), 0.0], dtype)
    # The rim as rounded, and its neighbours on both sides.
    for to in (0.0, 0.2, 1.0):
      x = jnp.nextafter(rim, jnp.asarray([to, 0.0], dtype))
      value, grad = jax.value_and_grad(lorentz.half_aperture)(x, curv)
      np.testing.assert_allclose(value, np.pi / 2, atol=2e-3)
      assert jnp.all(jnp.isfinite(grad))


def test_exterior_angle_on_the_ray(curv):
  x = _points(curv)[1:]
  outward = lorentz.exterior_angle(x, 1.7 * x, curv)
  np.testing.assert_allclose(outward, 0, atol=1e-14)
  for inward in (0.3 * x, 0 * x, -0.5 * x, -x):
    np.testing.assert_allclose(
      lorentz.exterior_angle(x, inward, curv), np.pi, rtol=1e-15
    )


def test_exterior_angle_where_there_is_none(curv):
  x, root = _points(curv), jnp.zeros((40, 5))
  for p, q, angle in ((x, x, 0), (root, root, 0), (root, x, np.pi / 2)):
    np.testing.assert_array_equal(lorentz.exterior_angle(p, q, curv), angle)
    grads = jax.vmap(jax.grad(lorentz.exterior_angle, (0, 1, 2)), (0, 0, None))
    for grad in grads(p, q, curv):
      np.testing.assert_array_equal(grad, 0)


def _inside_cone(x, share, seed, curv):
  """Points in the cones at x, at `share` of the half aperture."""
  unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  side = _tangents(len(x), seed=seed)
  side = side - jnp.sum(side * unit, -1, keepdims=True) * unit
  side = side / jnp.linalg.norm(side, axis=-1, keepdims=True)
  angle = (share * lorentz.half_aperture(x, curv))[:, None]
  stretch = np.sqrt(curv) * lorentz.time(x, curv)[:, None]
  v = jnp.cos(angle) * stretch * unit + jnp.sin(angle) * side
  distance = np.random.default_rng(seed).uniform(0, 2, (len(x), 1))
  return lorentz.expmap(x, distance / np.sqrt(curv) * v, curv)


def test_cones_are_transitive(curv):
  """y in the cone at x and z in the cone at y put z in the cone at x."""
  x = _points(curv, 300)
  x = x[np.sqrt(curv) * np.linalg.norm(x, axis=-1) > 0.2]
  share = np.random.default_rng(0).uniform(0, 1, (2, len(x)))
  share[:, :50] = 1  # on both rims
  y = _inside_cone(x, share[0], 1, curv)
  z = _inside_cone(y, share[1], 2, curv)
  for p, q in ((x, y), (y, z), (x, z)):
    excess = lorentz.exterior_angle(p, q, curv) - lorentz.half_aperture(p, curv)
    assert jnp.all(excess < 1e-12)
  on_rim = lorentz.exterior_angle(x, y, curv) - lorentz.half_aperture(x, curv)
  np.testing.assert_allclose(on_rim[:50], 0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*POINTWISE, *OF_PAIRS, *PAIRWISE])
def test_dtype_is_kept(name, dtype):
  x = jnp.ones((4, 5), dtype)
  args = (x,) if name in POINTWISE else (x, x)
  args += {"ptransp": (x,), "geodesic": (0.3,)}.get(name, ())
  function = getattr(geometry.lorentz, name)
  for curv in (0.7, jnp.asarray(0.7, dtype)):
    traced = jax.eval_shape(lambda *a, c=curv: function(*a, c), *args)
    assert traced.dtype == dtype


@pytest.mark.parametrize("radius", [0.0, 0.01, 1.0, 5.0, 10.0])
@pytest.mark.parametrize("distance", [1e-2, 1.0])
def test_split_of_stored_points(radius, distance):
  """Of points in float32, against float64; eps t is what rounding moves."""
  rng = np.random.default_rng(0)
  centre = rng.normal(size=(1, 5))
  with jax.enable_x64(True):
    centre *= radius / np.linalg.norm(centre)
    around = rng.normal(size=(200, 5))
    around *= distance / np.linalg.norm(around, axis=-1, keepdims=True)
    mu, around = (
      lorentz.expmap0(jnp.asarray(u), 1.0) for u in (centre, around)
    )
    x = boosts.add(mu, around, 1.0)
    x, mu = (np.asarray(p, np.float32) for p in (x, mu))
    wide = stable.excess(*(jnp.asarray(p, jnp.float64) for p in (x, mu)), 1.0)
    wide = np.asarray(wide)
  along, rest, excess = stable.split(jnp.asarray(x), jnp.asarray(mu), 1.0)
  np.testing.assert_allclose(
    (1 + along)[:, None] * mu + rest, x, atol=2e-7 * np.abs(x).max()
  )
  most = 2e-7 * (1 + np.cosh(radius) / distance)
  np.testing.assert_allclose(excess, wide, rtol=most)
  for values in stable.split(x, mu, 1.0):  # NumPy stays on the host
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float32


@pytest.mark.parametrize("radius", [0.0, 1.0, 5.0])
def test_split_at_the_centroid(radius):
  model, rng = geometry.lorentz, np.random.default_rng(0)
  centre = jnp.asarray([[radius, 0, 0]], jnp.float32)
  around = jnp.asarray(rng.normal(size=(50, 3)), jnp.float32)
  x = boosts.add(*(model.expmap0(u, 1.0) for u in (centre, around)), 1.0)
  found, *parts = jax.jit(model.split_at_centroid)(x, 1.0)
  np.testing.assert_array_equal(found, jax.jit(model.centroid)(x, 1.0))
  for a, b in zip(parts, stable.split(x, found[None], 1.0), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6 * np.cosh(radius))


@pytest.mark.parametrize("radius", [0.0, 1.0, 12.0, 20.0, 40.0])
@pytest.mark.parametrize("copies", [1, 2])  # whose means are exact
def test_the_centroid_of_copies_is_the_point(radius, copies):
  model = geometry.lorentz
  u = radius * np.array([0.48, -0.6, 0.64], np.float32)
  x = model.expmap0(jnp.asarray(u), 1.0)
  found = model.centroid(jnp.broadcast_to(x, (copies, 3)), 1.0)
  np.testing.assert_allclose(found, x, rtol=1e-6)
