"""Far from the root and on the ray, against 60 digits and against storage.

`decimal` gives the values and, by central differences, the derivatives.
"""

import decimal
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import lorentz

DTYPES = ("float32", "float64")
D = decimal.Decimal

few = hypothesis.settings(
  max_examples=100, deadline=None, database=None, derandomize=True
)
geometry = hypothesis.given(
  curv=st.sampled_from([0.1, 0.5, 1.0, 2.5]),
  radius=st.floats(0, 10),
  distance=st.one_of(st.just(0.0), st.floats(-4, 1).map(lambda e: 10**e)),
  angle=st.floats(0, np.pi),
  seed=st.integers(0, 2**16),
)


@pytest.fixture(autouse=True)
def sixty_digits():
  with decimal.localcontext(prec=60):
    yield


def _exact(rows):
  return [D(float(v)) for v in rows]


def _dot(x, y):
  return sum(a * b for a, b in zip(x, y, strict=True))


def _time(x, c):
  return (1 / c + _dot(x, x)).sqrt()


def _inner(x, y, c):
  return _dot(x, y) - _time(x, c) * _time(y, c)


def _ptransp(x, y, v, c):
  y_dot_v = _dot(y, v) - _time(y, c) * _dot(x, v) / _time(x, c)
  weight = y_dot_v / (1 / c - _inner(x, y, c))
  return [b + weight * (p + q) for p, q, b in zip(x, y, v, strict=True)]


def _length(v, x, c):
  return float((_dot(v, v) - (_dot(x, v) / _time(x, c)) ** 2).sqrt())


def _pair(make_pair, dtype, curv, radius, distance, angle, seed, count=1):
  """A pair within the radius of 10, and what storing its points costs."""
  unit = 1 / np.sqrt(curv)
  pair = make_pair(
    curv, unit * radius, unit * distance, angle, 5, count, seed=seed
  )
  x, y = (a.astype(dtype) for a in pair)
  lengths = (np.linalg.norm(a, axis=-1).max() for a in pair)
  times = [np.sqrt(1 + curv * length**2) for length in lengths]
  hypothesis.assume(max(times) < np.cosh(10.01))
  return x, y, float(np.finfo(dtype).eps) * sum(times)


def _tangent(x, curv, seed):
  """Vectors of length 1 at x in random directions."""
  w = np.random.default_rng(seed).normal(size=x.shape)
  w /= np.linalg.norm(w, axis=-1, keepdims=True)
  n = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
  t = np.sqrt(1 + curv * np.sum(x * x, axis=-1, keepdims=True))
  return w + (t - 1) * np.sum(w * n, axis=-1, keepdims=True) * n


_move = jax.jit(lorentz.ptransp)


@pytest.mark.parametrize("dtype", DTYPES)
@few
@geometry
def test_transport(make_pair, dtype, curv, radius, distance, angle, seed):
  """Off by a few times what storing the points costs: 1e-12 in float64."""
  x, y, unit = _pair(make_pair, dtype, curv, radius, distance, angle, seed)
  n = x / np.maximum(np.linalg.norm(x), 1e-30)
  radial = np.sqrt(1 + curv * np.sum(x * x)) * n
  for v in (_tangent(x, curv, seed).astype(dtype), radial.astype(dtype)):
    with jax.enable_x64(dtype == "float64"):
      found = np.asarray(_move(x, y, v, curv))
    assert found.dtype == dtype
    p, q, w, got = (_exact(a[0]) for a in (x, y, v, found))
    wanted = _ptransp(p, q, w, D(curv))
    error = [a - b for a, b in zip(got, wanted, strict=True)]
    assert _length(error, q, D(curv)) < 4 * unit * max(
      1, _length(w, p, D(curv))
    )


@jax.jit
def _slope(x, y, v, u, directions, curv):
  """Derivative of u.ptransp(x, y, v) in given directions of x, y and v."""

  def scalar(x, y, v):
    return jnp.sum(u * lorentz.ptransp(x, y, v, curv))

  return jax.jvp(scalar, (x, y, v), directions)[1]


@few
@geometry
def test_transport_derivative(make_pair, curv, radius, distance, angle, seed):
  """In float64, by 60 digits; the tolerance is what storage costs."""
  x, y, unit = _pair(make_pair, "float64", curv, radius, distance, angle, seed)
  rng = np.random.default_rng(seed)
  v, u = _tangent(x, curv, seed), rng.normal(size=x.shape)
  directions = [_tangent(a, curv, seed + 1) for a in (x, y, x)]
  with jax.enable_x64(True):
    found = float(_slope(x, y, v, u, tuple(directions), curv))
  given = [_exact(a[0]) for a in (x, y, v)]
  steps = [_exact(a[0]) for a in directions]
  ends = []
  for h in (D("1e-20"), D("-1e-20")):
    moved = [
      [a + h * b for a, b in zip(p, s, strict=True)]
      for p, s in zip(given, steps, strict=True)
    ]
    ends.append(_dot(_exact(u[0]), _ptransp(*moved, D(curv))))
  wanted = float((ends[0] - ends[1]) / D("2e-20"))
  # A unit step turns vectors as long as the times of their points.
  scale = np.linalg.norm(u) * max(
    np.sqrt(1 + curv * np.sum(a * a)) for a in (x, y)
  )
  assert abs(found - wanted) < 20 * unit * scale


@jax.jit
def _gradients(x, y, v, u):
  def scalar(x, y, v):
    return jnp.sum(u * lorentz.ptransp(x, y, v, 1.0))

  return jax.grad(scalar, (0, 1, 2))(x, y, v)


def _gradients_of(*given):
  return [np.asarray(g, np.float64) for g in _gradients(*given)]


def test_transport_gradients_are_as_good_as_their_inputs(make_pair):
  """In float32: off by no more than some roundings of the inputs change it."""
  rng = np.random.default_rng(0)
  eps = np.finfo(np.float32).eps
  for radius, distance, angle in itertools.product(
    (0.0, 0.5, 2.0, 6.0, 8.0, 9.5, 10.0),
    (1e-3, 0.5, 2.0, 6.0, 10.0),
    (0.0, 0.5, 1.57, 3.1, np.pi),
  ):
    x, y = make_pair(1.0, radius, distance, angle, 16, 8)
    if np.linalg.norm(y, axis=-1).max() > np.sinh(10.01):
      continue
    v, u = _tangent(x, 1.0, 0), rng.normal(size=x.shape)
    given = [a.astype(np.float32) for a in (x, y, v, u)]
    single = _gradients_of(*given)
    with jax.enable_x64(True):
      given = [a.astype(np.float64) for a in given]
      double = _gradients_of(*given)
      rounded = [
        _gradients_of(
          *[a + a * eps * rng.uniform(-1, 1, a.shape) for a in given]
        )
        for _ in range(4)
      ]
    for i in range(3):
      change = max(
        np.linalg.norm(r[i] - double[i], axis=-1).max() for r in rounded
      )
      least = eps * np.linalg.norm(double[i], axis=-1).max()
      error = np.linalg.norm(single[i] - double[i], axis=-1).max()
      assert error < 10 * max(change, least), (radius, distance, angle, i)


_product = jax.jit(lorentz.inner)


@pytest.mark.parametrize("dtype", DTYPES)
@few
@geometry
def test_inner(make_pair, dtype, curv, radius, distance, angle, seed):
  """A few ulp near the diagonal, and never more than storing the points costs.

  To move a point by `unit` sideways moves the product by tanh(distance) of it.
  """
  x, y, unit = _pair(make_pair, dtype, curv, radius, distance, angle, seed)
  eps = float(np.finfo(dtype).eps)
  curv = float(np.dtype(dtype).type(curv))
  for other in (y, x):
    with jax.enable_x64(dtype == "float64"):
      found = float(_product(x, other, curv)[0])
    wanted = float(_inner(_exact(x[0]), _exact(other[0]), D(curv)))
    stored = unit * np.tanh(distance) if other is y else 0
    assert abs(found / wanted - 1) < 12 * eps + stored
  assert abs(found * curv + 1) <= 2 * eps  # of x with itself


FACTORS = (0.0, 2.0, -1.0, 0.5, 3.0, 1.7, -0.3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 5, 512])
def test_one_rule_on_the_ray(dtype, dim):
  """Exactly 0 or pi with zero gradients, compiled or not."""
  rng = np.random.default_rng(0)
  directions = rng.normal(size=(40, dim))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  grads = jax.vmap(
    jax.value_and_grad(lorentz.exterior_angle, (0, 1, 2)), (0, 0, None)
  )
  with jax.enable_x64(dtype == "float64"):
    curv = jnp.asarray(0.7, dtype)
    for radius in (1e-6, 0.3, 2.0, 10.0):
      x = jnp.asarray(np.sinh(radius) * directions, dtype)
      x = jnp.concatenate([x, x[:1] * 0 + jnp.eye(1, dim, dtype=dtype)])
      for factor in FACTORS:
        # Rounding y moves it off the ray by less than 4 eps of y - x.
        y = factor * x
        for function in (grads, jax.jit(grads)):
          value, gradients = function(x, y, curv)
          angle = 0 if factor > 1 else np.pi
          np.testing.assert_array_equal(value, np.asarray(angle, dtype))
          for gradient in gradients:
            np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("radius", [0.3, 2.0, 8.0])
def test_beside_the_ray_the_gradient_has_full_length(radius):
  """However small the angle, where the coordinates can hold it."""
  grads = jax.jit(
    jax.vmap(jax.grad(lorentz.exterior_angle, (0, 1)), (0, 0, None))
  )
  angle = jax.jit(lorentz.exterior_angle)
  length = np.float32(np.sinh(radius))
  for factor in (2.0, 0.5, -1.0):
    for aside in (1e-3, 1e-8, 1e-12):
      x = np.asarray([[length, 0, 0]], np.float32)
      y = np.asarray([[factor * length, 0, aside * length]], np.float32)
      single = (angle(x, y, 1.0), *grads(x, y, 1.0))
      with jax.enable_x64(True):
        x, y = np.float64(x), np.float64(y)
        double = (angle(x, y, 1.0), *grads(x, y, 1.0))
      for found, wanted in zip(single, double, strict=True):
        scale = np.abs(wanted).max()
        assert scale > 0
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * scale)


def test_ranking(make_pair):
  """What the docstrings say of the order that float32 gives."""

  def queries(radius):
    rng = np.random.default_rng(0)
    for seed in range(20):
      x, _ = make_pair(1.0, radius, 0.0, 0.0, 64, seed=seed)
      v = _tangent(np.repeat(x, 10, axis=0), 1.0, seed)
      d = rng.uniform(0.5, 1, (10, 1))
      y = np.cosh(d) * x + np.sinh(d) * v
      yield x.astype(np.float32), y.astype(np.float32)

  dist, pairwise = jax.jit(lorentz.dist), jax.jit(lorentz.pairwise_inner)
  for radius in (1.0, 4.0, 10.0):
    for x, y in queries(radius):
      exact = [_inner(_exact(x[0]), _exact(row), D(1)) for row in y]
      nearest = max(range(10), key=exact.__getitem__)
      assert int(jnp.argmin(dist(x, y, 1.0))) == nearest
      if radius <= 4:
        assert int(jnp.argmax(pairwise(x, y, 1.0))) == nearest


_centroid = jax.jit(
  jax.value_and_grad(
    lambda x, w: jnp.sum(lorentz.centroid(x, 1.0, w) * jnp.arange(1.0, 4)),
    (0, 1),
  )
)


@few
@hypothesis.given(
  exponent=st.floats(-38.99, 37.99),
  ratios=st.lists(st.floats(0.25, 3), min_size=4, max_size=4),
)
def test_centroid_with_weights_of_any_size(exponent, ratios):
  scale = 10.0**exponent
  x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  weights = np.asarray(scale * np.asarray(ratios), np.float32)
  hypothesis.assume(np.isfinite(weights).all())
  # The very numbers, near 1: the centroid does not depend on their size.
  near_one = np.float32(np.float64(weights) / scale)
  value, (grad_x, grad_w) = _centroid(x, weights)
  wanted, (wanted_x, wanted_w) = _centroid(x, near_one)
  np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(grad_x, wanted_x, rtol=1e-4, atol=1e-5)
  wanted_w = np.float64(wanted_w) / scale
  biggest = np.abs(wanted_w).max()
  if biggest < 3e38:
    # Devices may write subnormal numbers as 0.
    atol = 1e-4 * biggest + 1.2e-38
    np.testing.assert_allclose(np.float64(grad_w), wanted_w, 1e-4, atol)


def test_centroid_of_weights_far_apart():
  x = jnp.eye(3)
  for weights in ([3e38, 3e38, 3e38], [1e-39, 1e-39, 1e-39], [1e-45] * 3):
    np.testing.assert_allclose(
      lorentz.centroid(x, 1.0, jnp.asarray(weights)),
      lorentz.centroid(x, 1.0),
      rtol=1e-6,
    )
  one = lorentz.centroid(x, 1.0, jnp.asarray([1e-39, 3e38, 0.0]))
  np.testing.assert_allclose(one, [0, 1, 0], atol=1e-7)
