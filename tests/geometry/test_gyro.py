"""Laws of hyperbolic space, for points that hypothesis chooses."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import (
  beta,
  boosts,
  hyperplanes,
  klein,
  lorentz,
  manifolds,
  means,
  poincare,
  wrapped_normal,
)

CURVS = st.sampled_from([0.1, 0.5, 1.0, 2.5])
DIM = 3
# Tangent vectors at the root, up to 3 / sqrt(c) long; also 0 and tiny.
vectors = hnp.arrays(
  np.float64,
  (DIM,),
  elements=st.one_of(st.sampled_from([0.0, 1e-8]), st.floats(-1.7, 1.7)),
)
given = hypothesis.given
settings = hypothesis.settings(
  max_examples=60, deadline=None, database=None, derandomize=True
)


@pytest.fixture(scope="module", autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def _point(v, curv):
  return lorentz.expmap0(jnp.asarray(v) / np.sqrt(curv), curv)


def _close(a, b, atol=1e-11):
  # Rounding a point at radius 3 moves it by 1e-15 cosh(3)^2 once it is boosted.
  np.testing.assert_allclose(a, b, rtol=1e-11, atol=atol)


@functools.partial(jax.jit, static_argnums=0)
def _call(function, *args):
  return function(*args)


def _group(x, y, w, c):
  both = boosts.add(x, y, c)
  turned = boosts.gyration(x, y, w, c)
  return {
    "left cancellation": (boosts.add(-x, both, c), y),
    "root": (boosts.add(x, 0 * x, c), x),
    "inverse": (boosts.add(x, -x, c), 0 * x),
    "gyrocommutative": (
      both,
      boosts.gyration(x, y, boosts.add(y, x, c), c),
    ),
    "gyroassociative": (
      boosts.add(x, boosts.add(y, w, c), c),
      boosts.add(both, turned, c),
    ),
    "isometry": (
      lorentz.dist(boosts.add(x, y, c), boosts.add(x, w, c), c),
      lorentz.dist(y, w, c),
    ),
    "gyration is a rotation": (jnp.sum(turned**2), jnp.sum(w**2)),
  }


@settings
@given(vectors, vectors, vectors, CURVS)
def test_addition_is_a_gyrogroup(x, y, w, curv):
  points = (_point(v, curv) for v in (x, y, w))
  scale = np.cosh(3 * 3) / np.sqrt(curv)  # three radii in a row
  for name, (a, b) in _call(_group, *points, curv).items():
    np.testing.assert_allclose(a, b, 1e-10, 1e-14 * scale, err_msg=name)


def _transport(p, q, u, v, c):
  moved_u, moved_v = (poincare.ptransp(p, q, w, c) for w in (u, v))
  return {
    "inner products": (
      poincare.inner(q, moved_u, moved_v, c),
      poincare.inner(p, u, v, c),
    ),
    "stays": (poincare.ptransp(p, p, u, c), u),
    "exp of log": (poincare.expmap(p, poincare.logmap(p, q, c), c), q),
    "length": (
      jnp.sqrt(poincare.inner(p, *2 * [poincare.logmap(p, q, c)], c)),
      poincare.dist(p, q, c),
    ),
    "log at itself": (poincare.logmap(p, p, c), 0 * p),
  }


@settings
@given(vectors, vectors, vectors, vectors, CURVS)
def test_transport_and_maps_of_the_ball(p, q, u, v, curv):
  p, q = (poincare.from_lorentz(_point(w, curv), curv) for w in (p, q))
  for name, (a, b) in _call(_transport, p, q, u, v, curv).items():
    np.testing.assert_allclose(a, b, 1e-8, 1e-8, err_msg=name)


def _both_views(x, y, v, c):
  p, q = (poincare.from_lorentz(w, c) for w in (x, y))
  ball, sheet = manifolds.Poincare(c), manifolds.Lorentz(c)
  push = functools.partial(jax.jvp, lambda p: poincare.to_lorentz(p, c), (p,))
  pull = jax.vjp(lambda p: poincare.to_lorentz(p, c), p)[1]

  def push_at_q(w):
    return jax.jvp(lambda q: poincare.to_lorentz(q, c), (q,), (w,))[1]

  pushed = push((v,))[1]
  return {
    "exp": (
      poincare.to_lorentz(ball.expmap(p, v), c),
      sheet.expmap(x, pushed),
    ),
    "log": (push((poincare.logmap(p, q, c),))[1], lorentz.logmap(x, y, c)),
    "transport": (
      push_at_q(ball.ptransp(p, q, v)),
      sheet.ptransp(x, y, pushed),
    ),
    "length": (ball.squared_length(p, v), sheet.squared_length(x, pushed)),
    "gradient": (
      push((ball.gradient(p, pull(v)[0]),))[1],
      sheet.gradient(x, v),
    ),
  }


@settings
@given(vectors, vectors, vectors, CURVS)
def test_the_ball_and_the_hyperboloid_agree(x, y, v, curv):
  x, y = _point(x, curv), _point(y, curv)
  v = jnp.asarray(v) / 10
  for name, (a, b) in _call(_both_views, x, y, v, curv).items():
    np.testing.assert_allclose(a, b, 1e-9, 1e-8, err_msg=name)


def _of_means(x, by, weights, c):
  moved = boosts.add(jnp.broadcast_to(by, x.shape), x, c)
  centroid, mean = lorentz.centroid, means.frechet_mean
  middle = lorentz.geodesic(x[0], x[1], 0.5, c)
  mu = mean(x, c, weights)
  logs = lorentz.logmap(jnp.broadcast_to(mu, x.shape), x, c)
  return {
    "moves": (mean(moved, c, weights), boosts.add(by, mu, c)),
    "centroid moves": (
      centroid(moved, c, weights),
      boosts.add(by, centroid(x, c, weights), c),
    ),
    "stationary": (jnp.sum(weights[:, None] * logs, axis=0), 0 * mu),
    "of two": (mean(x[:2], c), middle),
    "centroid of two": (centroid(x[:2], c), middle),
    "of copies": (mean(jnp.stack(4 * [x[0]]), c), x[0]),
  }


@settings
@given(
  hnp.arrays(np.float64, (4, DIM), elements=st.floats(-1.5, 1.5)),
  vectors,
  hnp.arrays(np.float64, (4,), elements=st.floats(0.1, 5)),
  CURVS,
)
def test_means(x, by, weights, curv):
  x, by = _point(x, curv), _point(by, curv)
  for name, (a, b) in _call(_of_means, x, by, weights, curv).items():
    np.testing.assert_allclose(a, b, 1e-8, 1e-8, err_msg=name)


def test_frechet_mean_of_far_points_is_found():
  rng = np.random.default_rng(0)
  v = rng.normal(size=(3, 20, 5))
  v *= 6 / np.linalg.norm(v, axis=-1, keepdims=True)
  x = lorentz.expmap0(jnp.asarray(v), 1.0)
  mu = means.frechet_mean(x, 1.0)
  logs = lorentz.logmap(jnp.broadcast_to(mu[:, None], x.shape), x, 1.0)
  np.testing.assert_allclose(jnp.mean(logs, axis=1), 0, atol=1e-11)


@pytest.mark.parametrize("radius", [10, 14, 18, 22, 26, 35])
def test_frechet_mean_far_out_in_float32(radius):
  """Rounding must not carry it away: it stays with the centroid."""
  u = np.zeros((3, 3), np.float32)
  u[:, 0] = radius + np.array([0, 0.5, -1])
  mu = means.frechet_mean(lorentz.expmap0(jnp.asarray(u), 1.0), 1.0)
  np.testing.assert_allclose(
    lorentz.logmap0(mu, 1.0), [radius - 1 / 6, 0, 0], atol=0.02
  )


def test_frechet_mean_of_points_whose_distance_overflows_is_finite():
  u = np.outer([1.0] + 10 * [-1.0], [35.0, 0.0]).astype(np.float32)
  x = lorentz.expmap0(jnp.asarray(u), 1.0)
  mu = means.frechet_mean(x, 1.0)
  assert jnp.isfinite(mu).all()
  near = jnp.arange(11) > 0  # the far point has no weight
  found = means.frechet_mean(x, 1.0, near.astype(jnp.float32))
  np.testing.assert_allclose(lorentz.logmap0(found, 1.0), u[1], rtol=1e-5)


def test_second_derivatives_of_the_frechet_mean():
  """The implicit ones, against differences of the first."""
  x = lorentz.expmap0(
    jnp.asarray(np.random.default_rng(0).normal(size=(4, 2))), 1.0
  )

  def gradient(x):
    return jax.grad(lambda x: means.frechet_mean(x, 1.0)[0])(x)

  direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
  exact = jax.jvp(gradient, (x,), (direction,))[1]
  ahead, behind = (gradient(x + h * direction) for h in (1e-5, -1e-5))
  np.testing.assert_allclose(
    exact, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8
  )


def test_concatenation_of_one_part_is_itself():
  x = _point(np.array([[0.3, -1.2, 0.5]]), 0.5)
  np.testing.assert_allclose(beta.concatenate([x], 0.5), x, rtol=1e-14)


def test_concatenation_keeps_the_expected_length():
  """That of a normal vector is proportional to 1 / B(n / 2, 1 / 2)."""
  rng = np.random.default_rng(0)
  part = rng.normal(size=(100_000, 2))
  before = np.linalg.norm(part, axis=-1).mean()
  whole = rng.normal(size=(100_000, 8))
  after = beta.ratio(8, 2) * np.linalg.norm(whole, axis=-1).mean()
  np.testing.assert_allclose(after, before, rtol=5e-3)


def test_the_flat_limit():
  rng = np.random.default_rng(0)
  p, z = rng.normal(size=(6, 3)), rng.normal(size=(3, 4))
  r = rng.normal(size=4)
  curv = 1e-10
  size = np.linalg.norm(z, axis=0)
  flat = 4 * p @ z - 4 * r * size
  found = poincare.hyperplane_dists(*map(jnp.asarray, (p, z, r)), curv)
  np.testing.assert_allclose(found, flat, rtol=1e-8, atol=1e-8)
  found = poincare.fully_connected(*map(jnp.asarray, (p, z, r)), curv)
  np.testing.assert_allclose(found, flat / 2, rtol=1e-8, atol=1e-8)


def test_logits_are_signed_distances():
  """Of points that lie on the hyperplane, or at a known distance from it."""
  curv, offset = 0.7, 0.4
  z = jnp.asarray([[0.0], [2.0], [0.0]])
  foot = lorentz.expmap0(jnp.asarray([0.0, 2 * offset, 0.0]), curv)
  aside = lorentz.expmap0(jnp.asarray([1.3, 0.0, -0.5]), curv)
  on_it = boosts.add(foot, aside, curv)
  r = jnp.asarray([offset])
  np.testing.assert_allclose(
    hyperplanes.logits(on_it, z, r, curv), 0, atol=1e-14
  )
  ahead = lorentz.expmap0(jnp.asarray([0.0, 1.1, 0.0]), curv)
  # Two boosts: along the hyperplane, after the step away from it.
  away = boosts.add(foot, boosts.add(aside, ahead, curv), curv)
  found = hyperplanes.logits(away, z, r, curv)
  np.testing.assert_allclose(found, [2 * 2.0 * 1.1], rtol=1e-13)


def test_logits_far_out_in_float32():
  """Where sinh^2 overflows, a slope is still there."""
  with jax.enable_x64(False):
    x = lorentz.expmap0(jnp.array([40.0, 0.0]), 1.0)
    z, r = jnp.array([[0.5], [0.0]]), jnp.array([-15.0])
    logits, grads = jax.value_and_grad(
      lambda x, r: hyperplanes.logits(x, z, r, 1.0)[0], (0, 1)
    )(x, r)
    np.testing.assert_allclose(logits, 70, rtol=1e-6)
    np.testing.assert_allclose(grads[1], [-2], rtol=1e-5)
    np.testing.assert_allclose(grads[0][0] * x[0], 1, rtol=1e-5)


def test_busemann_is_the_limit_of_distances():
  x = _point(np.array([0.4, -0.3, 1.0]), 0.5)
  direction = np.array([[0.6], [0.0], [0.8]])
  far = lorentz.expmap0(jnp.asarray(25 * direction[:, 0]), 0.5)
  found = hyperplanes.busemann(x, jnp.asarray(direction), 0.5)
  np.testing.assert_allclose(found, [lorentz.dist(x, far, 0.5) - 25], rtol=1e-9)


def test_klein():
  x, y = (_point(np.array(v), 0.5) for v in ([0.4, -0.3, 1.0], [1.2, 0.1, 0.0]))
  k = klein.from_lorentz(x, 0.5)
  np.testing.assert_allclose(klein.to_lorentz(k, 0.5), x, rtol=1e-14)
  p = poincare.from_lorentz(x, 0.5)
  np.testing.assert_allclose(k, 2 * p / (1 + 0.5 * np.sum(p**2)), rtol=1e-14)
  # Geodesics are straight.
  a, b, c = (
    klein.from_lorentz(lorentz.geodesic(x, y, t, 0.5), 0.5)
    for t in (0.0, 0.3, 1.0)
  )
  np.testing.assert_allclose(np.cross(b - a, c - a), 0, atol=1e-15)


def test_wrapped_normal_integrates_to_one():
  """Over a grid of geodesic polar coordinates around the root."""
  curv, std = 0.8, jnp.asarray([0.7, 0.4])
  mean = lorentz.expmap0(jnp.asarray([0.5, -0.3]), curv)
  nodes, weights = np.polynomial.legendre.leggauss(200)
  r, angle = np.meshgrid(
    4 * (nodes + 1), np.linspace(0, 2 * np.pi, 500, endpoint=False)
  )
  v = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)
  x = lorentz.expmap0(jnp.asarray(v), curv)
  log = wrapped_normal.log_prob(x, mean[None, None], std[None, None], curv)
  area = np.sinh(np.sqrt(curv) * r) / np.sqrt(curv)
  total = np.sum(np.exp(log) * area * 4 * weights) * 2 * np.pi / 500
  np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_wrapped_normal_samples_around_its_mean():
  curv = 0.8
  mean = lorentz.expmap0(jnp.asarray([1.5, -0.3]), curv)
  means_ = jnp.broadcast_to(mean, (20_000, 2))
  std = jnp.asarray([[0.3, 0.1]])
  x = wrapped_normal.sample(jax.random.key(0), means_, std, curv)
  v = lorentz.logmap0(boosts.add(-means_, x, curv), curv)
  np.testing.assert_allclose(np.std(v, axis=0), std[0], rtol=0.03)
  np.testing.assert_allclose(np.mean(v, axis=0), 0, atol=0.01)
