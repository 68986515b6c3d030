"""Geometry on the host agrees with the differentiable one, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.spaces import Lorentz, Sphere

CURVES = [0.1, 1.0, 2.5]
SPACES = [Sphere(), *map(Lorentz, CURVES)]


def tangents(count, seed=0, dim=5, radius=3.0):
  rng = np.random.default_rng(seed)
  v = rng.normal(size=(count, dim))
  v /= np.linalg.norm(v, axis=1, keepdims=True)
  return v * rng.uniform(0, radius, (count, 1))


@settings(max_examples=25, deadline=None)
@given(
  st.sampled_from(CURVES), st.integers(0, 1000), st.floats(1e-3, 4), st.data()
)
def test_functions_are_those_of_training(curv, seed, radius, data):
  space = Lorentz(curv)
  v = tangents(6, seed, radius=radius)
  twins = data.draw(st.sampled_from(["none", "same", "root", "ray"]))
  with jax.enable_x64(True):
    x = np.asarray(lorentz.expmap0(jnp.asarray(v[:3]), curv))
    y = np.asarray(lorentz.expmap0(jnp.asarray(v[3:]), curv))
    x, y = {
      "none": (x, y),
      "same": (x, x),
      "root": (x, 0 * x),
      "ray": (x, 2 * x),
    }[twins]
    a, b = jnp.asarray(x), jnp.asarray(y)
    wanted = {
      "similarity": lorentz.pairwise_inner(a, b, curv),
      "pairwise": -lorentz.pairwise_dist(a, b, curv),
      "distance": lorentz.dist(a, b, curv),
      "cone_margin": lorentz.exterior_angle(a, b, curv)
      - lorentz.half_aperture(a, curv),
    }
    lifted = np.asarray(lorentz.expmap0(jnp.asarray(v), curv))
    t = np.linspace(0, 1, 5)
    path = lorentz.geodesic(a[:1], b[:1], jnp.asarray(t), curv)
  for name, value in wanted.items():
    found = getattr(space, name)(x, y)
    assert found.dtype == np.float64
    # Matrix products lose the square root of an ulp of cosh at distance 0.
    close = {"pairwise": 1e-7 * np.cosh(curv**0.5 * 2 * radius)}.get(name, 1e-9)
    np.testing.assert_allclose(found, value, rtol=1e-9, atol=close)
  np.testing.assert_allclose(space.lift(v), lifted, rtol=1e-12)
  np.testing.assert_allclose(space.path(x[0], y[0], t), path, atol=1e-9)


@pytest.mark.parametrize("curv", CURVES)
def test_edges_of_cones(curv):
  space, zero = Lorentz(curv), np.zeros((1, 3))
  point = space.lift(np.array([[1.0, 0, 0]]))
  aperture = space.half_aperture(point)
  # In its own cone, straight outward, towards the root; nothing at the root.
  assert space.cone_margin(point, point) == -aperture
  assert space.cone_margin(point, 2 * point) == pytest.approx(-aperture)
  assert space.cone_margin(point, zero) == pytest.approx(np.pi - aperture)
  assert space.cone_margin(zero, point) == pytest.approx(0)
  assert space.cone_margin(zero, zero) == pytest.approx(-np.pi / 2)


@pytest.mark.parametrize("space", SPACES)
def test_one_row_serves_all(space):
  x = space.lift(tangents(4))
  one = np.repeat(x[:1], 4, axis=0)
  for method in (space.distance, space.entailment_score):
    np.testing.assert_allclose(method(x, x[:1]), method(x, one), atol=1e-15)
    np.testing.assert_allclose(method(x[:1], x), method(one, x), atol=1e-15)


@pytest.mark.parametrize("space", SPACES)
def test_products_of_keys_are_similarities(space):
  x, y = space.lift(tangents(4)), space.lift(tangents(3, seed=1))
  np.testing.assert_allclose(
    space.keys(x) @ space.queries(y).T, space.similarity(x, y), atol=1e-12
  )


@pytest.mark.parametrize("space", SPACES)
def test_paths_end_where_they_should_in_equal_steps(space):
  x, y = space.lift(tangents(2, seed=3))
  found = space.path(x, y, np.linspace(0, 1, 11))
  np.testing.assert_allclose(found[[0, -1]], [x, y], atol=1e-12)
  steps = space.distance(found[1:], found[:-1])
  if space.cones:
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
  same = space.path(x, x, np.linspace(0, 1, 3))
  np.testing.assert_allclose(same, np.repeat(x[None], 3, axis=0), atol=1e-12)


@pytest.mark.parametrize("radius", [6, 7, 8])
def test_far_from_the_root_ranks_are_right(radius):
  """Float32 products put most of these in a wrong order at radius 8."""
  space = Lorentz(1.0)
  rng = np.random.default_rng(0)
  v = rng.normal(size=(300, 64))
  v *= radius / np.linalg.norm(v, axis=1, keepdims=True)
  x = space.lift(v).astype(np.float32)
  moved = v + rng.normal(size=v.shape) * 0.3 / np.sinh(radius)
  y = space.lift(moved).astype(np.float32)
  nearest = space.similarity(x, y).argmax(axis=1)
  np.testing.assert_array_equal(nearest, np.arange(300))


def test_the_root_of_the_sphere_is_a_mean_direction():
  rows = np.array([[1, 0], [0, 1]], np.float32)
  np.testing.assert_allclose(Sphere().root(rows), [0.5**0.5] * 2)
  assert not Lorentz(1.0).root(rows).any()


def test_a_zero_row_stays():
  for space in SPACES:
    assert not space.lift(np.zeros((1, 3), np.float32)).any()
