"""Spaces beside the sphere and the hyperboloid: products, Euclid, angles."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.geometry import product as product_lib
from hyperclip_jax.geometry import spaces
from hyperclip_jax.geometry.spaces import Angular, Euclid, Lorentz, Product

DIM = 6
SPACES = {
  "one": Product(np.array([0.7])),
  "l1": Product(np.array([0.3, 1.0, 2.5])),
  "l2": Product(np.array([0.3, 2.5]), "l2"),
  "inner_sum": Product(np.array([0.3, 2.5]), score="inner_sum"),
  "squared": Euclid(),
  "distance": Euclid("distance", 0.3),
  "angular": Angular(0.4),
}


def points(space, count, seed=0, radius=2.0):
  rng = np.random.default_rng(seed)
  return space.lift(rng.normal(size=(count, DIM)) * radius / DIM**0.5)


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
  "half_aperture": lambda space, x, y: space.half_aperture(x),
  "exterior_angle": lambda space, x, y: space.exterior_angle(x, y),
  "cone_margin": lambda space, x, y: space.cone_margin(x, y, 0.7),
}


@jax.jit
def _all_methods(space, x, y):
  return {name: method(space, x, y) for name, method in METHODS.items()}


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), radius=st.sampled_from([0.0, 0.1, 2.0, 6.0]))
def test_both_backends_agree(name, seed, radius):
  space = SPACES[name]
  x, y = points(space, 4, seed, radius), points(space, 4, seed + 1, radius)
  y[0] = x[0]
  with jax.enable_x64(True):
    compiled = jax.device_get(_all_methods(space, x, y))
  for method, wanted in compiled.items():
    found = METHODS[method](space, x, y)
    assert type(found) is np.ndarray
    assert found.dtype == np.float64
    scale = np.abs(wanted).max() + 1
    atol = 1e-12 * scale * np.cosh(radius) ** 2
    if method in ("pairwise", "similarity"):  # of 0: a root of rounding
      atol += 1e-7 * np.cosh(radius)
    np.testing.assert_allclose(
      found, wanted, rtol=1e-12, atol=atol, err_msg=method
    )


@pytest.mark.parametrize("name", SPACES)
def test_pairs_products_and_one_row_are_those_of_all_pairs(name):
  space = SPACES[name]
  x, y = points(space, 5), points(space, 5, seed=1)
  np.testing.assert_allclose(
    np.diagonal(space.pairwise(x, y)), space.pairs(x, y), rtol=1e-9
  )
  np.testing.assert_allclose(
    space.pairs(x, y[:1]), space.pairwise(x, y[:1])[:, 0], rtol=1e-9
  )
  assert space.pairwise(x[:0], y).shape == (0, 5)
  if space.by_products:
    np.testing.assert_allclose(
      space.queries(x) @ space.keys(y).T, space.similarity(x, y), rtol=1e-9
    )
  if name != "inner_sum":  # whose score orders otherwise, as documented
    order = np.argsort(space.similarity(x, y), axis=1)
    np.testing.assert_array_equal(order, np.argsort(space.pairwise(x, y)))
  ends = space.path(x[0], y[0], np.array([0.0, 1.0]))
  np.testing.assert_allclose(ends, np.stack([x[0], y[0]]), rtol=1e-9)


@pytest.mark.parametrize("name", SPACES)
def test_gradients_are_finite_where_points_meet(name):
  space = jax.tree.map(jnp.float32, SPACES[name])
  x = jnp.asarray(points(SPACES[name], 4), jnp.float32)

  def total(space, x, y):
    margin = space.cone_margin(x, y, 0.7)
    return jnp.sum(space.pairs(x, y) + jnp.maximum(margin, 0)) + jnp.sum(
      space.pairwise(x, y)
    )

  grad = jax.jit(jax.grad(total, (0, 1, 2)))
  for other in (x, 0 * x, 2 * x, -x):
    for a, b in ((x, other), (other, x), (other, other)):
      leaves = jax.tree.leaves(grad(space, a, b))
      assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_one_factor_is_the_hyperboloid():
  x, y = (points(Lorentz(0.7), 5, seed) for seed in (0, 1))
  single = Product(np.array([0.7]))
  for name, method in METHODS.items():
    a, b = method(single, x, y), method(Lorentz(0.7), x, y)
    if name != "similarity":  # distances, and cheaper scores that rank alike
      np.testing.assert_array_equal(a.reshape(b.shape), b, err_msg=name)


def test_factors_in_groups_are_those_at_once(monkeypatch):
  space = Product(jnp.array([0.3, 1.0, 2.5], jnp.float32))
  x, y = (
    jnp.asarray(points(SPACES["l1"], 5, seed), jnp.float32) for seed in (0, 1)
  )

  def value_and_grad(space, x, y):
    def total(space, x, y):
      return jnp.sum(jnp.sin(space.pairwise(x, y)))

    return jax.value_and_grad(total, (0, 1, 2))(space, x, y)

  at_once = jax.jit(value_and_grad)(space, x, y)
  monkeypatch.setattr(product_lib, "HELD", 1)
  in_groups = jax.jit(lambda *given: value_and_grad(*given))(space, x, y)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    at_once,
    in_groups,
  )


def test_rows_that_do_not_split_are_refused():
  with pytest.raises(ValueError, match="6 numbers do not split into 4 factors"):
    Product(np.ones(4)).lift(np.ones((2, DIM)))


@pytest.mark.parametrize("name", SPACES)
def test_json_keeps_a_space(name):
  space = SPACES[name]
  text = json.dumps(spaces.to_json(space))
  found = spaces.from_json(json.loads(text))
  assert type(found) is type(space)
  assert spaces.alike(found, space)
  assert spaces.to_json(jax.tree.map(jnp.asarray, found)).keys() == (
    json.loads(text).keys()
  )


@pytest.mark.parametrize(
  "change",
  [
    *({"curv": c} for c in ([], 1.0, "1", [0.0], [True], [1.0, None], [[1.0]])),
    *({"norm": n} for n in ("l3", None, 1)),
    {"score": "cosine"},
    {"factors": 2},
  ],
)
def test_what_is_no_product_is_refused(change):
  good = spaces.to_json(SPACES["l1"])
  with pytest.raises(ValueError, match="the space"):
    spaces.from_json(good | change)


def test_euclidean_cones():
  space = Euclid(min_radius=0.5)
  x = np.array([[1.0, 0.0], [0.25, 0.0], [0.0, 0.0]])
  np.testing.assert_allclose(
    space.half_aperture(x), [np.pi / 6, np.pi / 2, np.pi / 2]
  )
  up = np.array([[1.0, 1.0], [0.5, 0.0], [1.0, 0.0]])
  np.testing.assert_allclose(
    space.exterior_angle(x, up), [np.pi / 2, 0.0, np.pi / 2]
  )


def test_angles_know_which_point_lies_farther_out():
  space = Angular(1.0)
  x = space.lift(np.array([[1.0, 0.0], [0.5, 0.5]]))
  y = space.lift(np.array([[2.0, 0.1], [0.1, 0.3]]))
  plain = Lorentz(1.0)
  wanted = [plain.exterior_angle(y, x)[0], plain.exterior_angle(x, y)[1]]
  np.testing.assert_allclose(space.pairs(x, y), wanted)
  np.testing.assert_array_equal(space.pairs(x, y), space.pairs(y, x))
