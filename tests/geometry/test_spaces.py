"""Spaces: one set of formulas for arrays of JAX and of NumPy."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.geometry import space as space_lib
from hyperclip_jax.geometry import spaces
from hyperclip_jax.geometry.spaces import Angular, Lorentz, Product, Sphere

CURVES = [0.1, 1.0, 2.5]
SPACES = [Sphere(), *map(Lorentz, CURVES)]


def tangents(count, seed=0, dim=5, radius=3.0):
  rng = np.random.default_rng(seed)
  v = rng.normal(size=(count, dim))
  v /= np.linalg.norm(v, axis=1, keepdims=True)
  return v * rng.uniform(0, radius, (count, 1))


# Every method of rows, as a function of a space and two sets of points.
METHODS = {
  "pairs": lambda space, x, y: space.pairs(x, y),
  "pairwise": lambda space, x, y: space.pairwise(x, y),
  "similarity": lambda space, x, y: space.similarity(x, y),
  "keys": lambda space, x, y: space.keys(x),
  "queries": lambda space, x, y: space.queries(y),
  "distance": lambda space, x, y: space.distance(x, y),
  "root": lambda space, x, y: space.root(x),
  "path": lambda space, x, y: space.path(x[0], y[0], np.r_[0:1:5j]),
  "lift": lambda space, x, y: space.lift(x / (1 + abs(x))),
  "mean": lambda space, x, y: space.mean([x / (1 + abs(x)), y / (1 + abs(y))]),
  "entailment_score": lambda space, x, y: space.entailment_score(x, y),
}
CONES = {
  "half_aperture": lambda space, x, y: space.half_aperture(x),
  "exterior_angle": lambda space, x, y: space.exterior_angle(x, y),
  "cone_margin": lambda space, x, y: space.cone_margin(x, y, 0.7),
}


@jax.jit
def _all_methods(space, x, y):
  methods = METHODS | (CONES if space.cones else {})
  return {name: method(space, x, y) for name, method in methods.items()}


everywhere = st.one_of(st.just(0.0), st.floats(-6, 1).map(lambda e: 10**e))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
  curv=st.floats(0.1, 10),
  radius=everywhere,
  apart=everywhere,
  angle=st.sampled_from([0.0, 1.0, np.pi / 2, np.pi]),
  seed=st.integers(0, 99),
)
def test_both_backends_agree(make_pair, curv, radius, apart, angle, seed):
  """In units of 1/sqrt(curv); to a few roundings of what each is made of."""
  unit = curv**-0.5
  apart = min(apart, 18 - radius)
  pair = make_pair(curv, radius * unit, apart * unit, angle, count=3, seed=seed)
  tangents = np.random.default_rng(seed).normal(size=(2, 3, 5))
  for space, (x, y) in (
    (Lorentz(curv), pair),
    (Sphere(), map(Sphere().lift, tangents)),
  ):
    x, y = np.asarray(x), np.asarray(y)
    with jax.enable_x64(True):
      compiled = jax.device_get(_all_methods(space, x, y))
    for name, wanted in compiled.items():
      found = (METHODS | CONES)[name](space, x, y)
      assert type(found) is np.ndarray
      assert found.dtype == np.float64
      scale = np.abs(wanted).max() + unit
      if name in ("similarity", "pairwise"):
        # Products of far points are off by roundings of their times, and
        # distances by what that is of their cosh.
        scale *= np.cosh(radius) * np.cosh(radius + apart)
      if space.cones and name == "pairwise":
        found, wanted = (np.cosh(near / unit) for near in (found, wanted))
      np.testing.assert_allclose(
        found, wanted, rtol=0, atol=1e-12 * scale, err_msg=f"{space} {name}"
      )


@pytest.mark.parametrize("space", SPACES)
def test_a_space_is_a_pytree(space):
  leaves, structure = jax.tree.flatten(space)
  assert jax.tree.unflatten(structure, leaves) == space
  assert leaves == ([space.curv] if space.cones else [])
  x = jnp.asarray(space.lift(tangents(4)), jnp.float32)
  y = jnp.asarray(space.lift(tangents(4, seed=1)), jnp.float32)
  found = jax.jit(lambda space: space.pairwise(x, y))(space)
  np.testing.assert_allclose(found, space.pairwise(x, y), rtol=1e-4)
  assert isinstance(space, spaces.Space)


def test_gradients_reach_the_curvature_and_are_zero_at_edges():
  x = jnp.asarray(Lorentz(1.0).lift(tangents(3)), jnp.float32)

  def total(space, x, y):
    margin = space.cone_margin(x, y, 0.7)
    return jnp.sum(space.pairs(x, y) + jnp.maximum(margin, 0))

  grad = jax.jit(jax.grad(total, (0, 1, 2)))
  space = Lorentz(jnp.float32(1))
  slope, *_ = grad(space, x, x[::-1])
  assert isinstance(slope, Lorentz)
  assert slope.curv != 0
  for points in (x, 0 * x):  # a distance of 0, in its own cone; the root
    slopes = jax.tree.leaves(grad(space, points, points))
    assert not any(np.asarray(slope).any() for slope in slopes)
  assert jax.tree.leaves(grad(Lorentz(jnp.float32(1)), x, 2 * x))
  zero = jax.grad(lambda v: jnp.sum(Sphere().lift(v) ** 2))(0 * x)
  assert np.isfinite(zero).all()


def test_many_rows_are_those_of_each(monkeypatch):
  space, x, y = Lorentz(0.7), tangents(23), tangents(23, seed=1)
  rows = {name: method(space, x, y) for name, method in METHODS.items()}
  monkeypatch.setattr(space_lib, "BLOCK", 20)  # four rows
  for name, method in METHODS.items():
    np.testing.assert_allclose(method(space, x, y), rows[name], rtol=1e-13)
  with pytest.raises((ValueError, TypeError)):
    space.distance(x, y[:22])
  assert space.distance(x[:0], y[:1]).shape == (0,)
  assert space.pairwise(x[:0], y).shape == (0, 23)


@pytest.mark.parametrize("space", SPACES)
def test_json_keeps_a_space(space):
  text = json.dumps(spaces.to_json(space))
  assert spaces.from_json(json.loads(text)) == space
  assert spaces.from_json(spaces.to_json(jax.tree.map(jnp.asarray, space)))


@pytest.mark.parametrize(
  "value",
  [
    *(None, 3, "sphere", [], {}, ["sphere"], {"name": ["sphere"]}),
    *({"name": "torus"}, {"name": "sphere", "curv": 1.0}),
    *({"name": "lorentz"}, {"name": "lorentz", "curv": "1"}),
    *({"name": "lorentz", "curv": c} for c in (True, None, [1.0], {"a": 1})),
    *({"name": "lorentz", "curv": c} for c in (0, -1.0, 1e-9, 1e9, 10**400)),
    *({"name": "lorentz", "curv": c} for c in (math.nan, math.inf)),
    {"name": "lorentz", "curv": 1.0, "factors": 2},
    {"name": "lorentz", "curv": 1.0, "min_radius": -0.1},
    {"name": "lorentz", "min_radius": 0.1},
    {"name": "\x1b[2J" * 10**5},
  ],
)
def test_what_is_no_space_is_refused(value):
  with pytest.raises(ValueError, match="the space") as error:
    spaces.from_json(value)
  assert len(str(error.value)) < 400
  assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
  "space", [Lorentz(0.7), Angular(0.7), Product(np.array([0.5, 2.0]))]
)
def test_a_file_from_before_cones_had_a_scale_has_the_published_one(space):
  value = spaces.to_json(space)
  assert value.pop("min_radius") == 0.1
  assert spaces.alike(spaces.from_json(value), space)


def test_cones_widen_with_their_scale():
  """asin(2 K / (sqrt(c) |x|)), and a right angle within that ball."""
  x = np.array([[1.2, 0.0], [0.0, 0.5]])
  np.testing.assert_allclose(
    Lorentz(1.0, 0.3).half_aperture(x), [np.pi / 6, np.pi / 2]
  )
  both = Product(np.array([1.0, 4.0]), min_radius=0.3)
  row = np.array([[1.2, 0.0, 0.0, 0.6]])
  np.testing.assert_allclose(both.half_aperture(row), [[np.pi / 6] * 2])
  assert not spaces.alike(Lorentz(1.0), Lorentz(1.0, 0.3))


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("radius", [0.0, 1e-6, 1.0, 1.000001, 100.0])
def test_gradients_of_cones_of_any_scale_are_finite(scale, radius):
  """At the root, at the rim of the ball of half-spaces, and far out."""
  x = jnp.zeros((1, 3), jnp.float32).at[0, 0].set(2 * scale * radius)
  y = jnp.ones((1, 3), jnp.float32)

  def margin(x, y, curv):
    return Lorentz(curv, scale).cone_margin(x, y)[0]

  found = jax.value_and_grad(margin, (0, 1, 2))(x, y, jnp.float32(1))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_other_spaces_are_told_apart():
  assert spaces.alike(Lorentz(0.7), Lorentz(float(np.float32(0.7))))
  assert not spaces.alike(Lorentz(0.7), Lorentz(0.701))
  assert not spaces.alike(Lorentz(0.7), Sphere())
  assert spaces.alike(Sphere(), Sphere())


@pytest.mark.parametrize("method", CONES.values())
def test_a_space_without_cones_says_so(method):
  x = Sphere().lift(tangents(2))
  with pytest.raises(TypeError, match="no entailment cones"):
    method(Sphere(), x, x)
  np.testing.assert_allclose(Sphere().entailment_score(x, x), -1)


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
