"""The plain contrastive loss: small losses, one pair, rows left out."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.losses import contrastive, ring, tiled
from hyperclip_jax.losses.entailment import entailment
from tests import meshes

pytestmark = pytest.mark.usefixtures("optimized")

SPACES = {"lorentz": Lorentz, "sphere": lambda curv: Sphere()}


@functools.cache
def _loss_and_gradients(name):
  def loss(scalars, x, y):
    space, scale = SPACES[name](scalars["curv"]), scalars["logit_scale"]
    return contrastive.cross_entropy(space, scale, x, y)

  return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))


def _arrays(dtype, scale, x, y):
  scalars = {"curv": 1.0, "logit_scale": scale}
  return jax.tree.map(lambda v: jnp.asarray(v, dtype), (scalars, x, y))


@hypothesis.settings(
  max_examples=60, deadline=None, database=None, derandomize=True
)
@hypothesis.given(
  scale=st.floats(1, 100), radius=st.floats(0.05, 2), seed=st.integers(0, 99)
)
def test_never_negative_and_exact_where_pairs_fit(scale, radius, seed):
  """Orthogonal points: losses from 2 down to 1e-37, in all their digits."""
  noise = np.random.default_rng(seed).normal(size=(6, 6))
  x = np.float32(np.sinh(radius) * np.eye(6) + 0.01 * radius * noise)
  y = x * np.float32(1.02)
  function = _loss_and_gradients("lorentz")
  found = function(*_arrays("float32", scale, x, y))
  with jax.enable_x64(True):
    given = [np.float64(np.float32(scale)), np.float64(x), np.float64(y)]
    wanted = jax.device_get(function(*_arrays("float64", *given)))
  assert found[0] >= 0
  hypothesis.assume(wanted[0] > 1e-37)  # subnormal numbers may be written as 0

  # Of exp(-gap), the relative error is the gap's absolute one: some roundings
  # of logits up to 400, 3e-5 each. Near the root a distance hardly depends on
  # the curvature, and that slope carries the roundings of the distance itself.
  slopes = wanted[1][0]
  rounding = {"curv": 3e-6 * scale * abs(slopes["logit_scale"])}
  leaves = zip(
    jax.tree_util.tree_leaves_with_path(jax.device_get(found)),
    jax.tree.leaves(wanted),
    strict=True,
  )
  for (path, value), expected in leaves:
    name = getattr(path[-1], "key", None)
    atol = 3e-4 * np.abs(expected).max() + 1e-37 + rounding.get(name, 0)
    np.testing.assert_allclose(value, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", SPACES)
def test_large_losses(name):
  """The match is the worst of the candidates, by hundreds."""
  x = np.eye(4, dtype=np.float32)
  given = _arrays("float32", 500.0, x, x[::-1])
  loss, grads = _loss_and_gradients(name)(*given)
  expected = {"lorentz": 500 * np.arccosh(2), "sphere": 500}[name]
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", SPACES)
def test_one_pair_has_no_loss(name):
  x = np.ones((1, 4), np.float32)
  found = _loss_and_gradients(name)(*_arrays("float32", 9.0, x, 2 * x))
  assert not any(leaf.any() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("filler", [np.inf, -np.inf, np.nan, 1e30, 3e38])
def test_rows_left_out_may_hold_anything(filler):
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 6, 4)).astype(np.float32)
  where = jnp.asarray([True, False, True, True, False, True])
  scalars = {"curv": jnp.float32(1), "logit_scale": jnp.float32(10)}
  other = jnp.where(where[:, None], x, filler)

  def cone(scalars, x, y):
    return entailment(Lorentz(scalars["curv"]), x, y, 0.7, where)

  def turned(scalars, x, y):
    return entailment(Lorentz(scalars["curv"]), y, x, 0.7, where)

  def contrast(make_space, scalars, x, y):
    space, scale = make_space(scalars["curv"]), scalars["logit_scale"]
    return contrastive.cross_entropy(space, scale, x, y, where)

  contrasts = [functools.partial(contrast, s) for s in SPACES.values()]
  for loss in (cone, turned, *contrasts):
    function = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    found, wanted = function(scalars, other, y), function(scalars, x, y)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert not found[1][1][~where].any()


def weighted_losses():
  """name -> function with the arguments of `cross_entropy`, of both forms."""
  return {
    "naive": contrastive.cross_entropy,
    "tiled": functools.partial(tiled.cross_entropy, meshes.mesh(2)),
  }


@pytest.mark.parametrize("form", ["naive", "tiled"])
@pytest.mark.parametrize("own_scales", [False, True])
def test_directions_at_once_are_those_one_by_one(form, own_scales):
  rng = np.random.default_rng(0)
  x = jnp.float32(rng.normal(size=(2, 8, 3)))
  y = jnp.float32(rng.normal(size=(2, 4, 3)))
  scale = jnp.float32(rng.uniform(5, 20, (2, 8)) if own_scales else 10.0)
  where = jnp.arange(8) != 3
  counts = jnp.float32([2, 1, 1, 2])
  contrast = weighted_losses()[form]

  def at_once(scale, x, y):
    return contrast(Lorentz(1.0), scale, x, y, where, counts)

  def one_by_one(scale, x, y):
    scales = scale if own_scales else [scale, scale]
    return jnp.stack(
      [
        contrast(Lorentz(1.0), *way, where, counts)
        for way in zip(scales, x, y, strict=True)
      ]
    )

  for function in (lambda f, _: f, jax.jacrev):
    found, wanted = (
      jax.jit(function(f, (0, 1, 2)))(scale, x, y)
      for f in (at_once, one_by_one)
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-6, atol=1e-6),
      found,
      wanted,
    )


@pytest.mark.parametrize("form", ["naive", "tiled"])
def test_counts_are_copies_of_candidates(form, monkeypatch):
  """Against the definition, with the candidates repeated one by one."""
  monkeypatch.setattr(ring, "TILE", 9)
  counts = np.array([2, 0, 1, 3, 0, 1])
  where = np.repeat(counts > 0, 2)
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    x, y = (
      jnp.asarray(rng.normal(size=(12, 4))),
      jnp.asarray(rng.normal(size=(6, 4))),
    )
    scales = jnp.asarray(rng.uniform(1, 9, 12))

    def defined(curv, scales, x, y):
      space = Lorentz(curv)
      logits = scales[:, None] * space.pairwise(
        x, jnp.repeat(y, counts, axis=0)
      )
      match = scales * space.pairs(x, jnp.repeat(y, 2, axis=0))
      each = jax.nn.logsumexp(logits, axis=1) - match
      return jnp.mean(each[where])

    def found(curv, scales, x, y):
      x = jnp.where(jnp.asarray(where)[:, None], x, jnp.nan)
      y = jnp.where(jnp.asarray(counts)[:, None] > 0, y, jnp.inf)
      return weighted_losses()[form](
        Lorentz(curv),
        scales,
        x,
        y,
        jnp.asarray(where),
        jnp.asarray(counts, float),
      )

    given = (jnp.float64(0.7), scales, x, y)
    got, wanted = (
      jax.jit(jax.value_and_grad(f, (0, 1, 2, 3)))(*given)
      for f in (found, defined)
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13),
    got,
    wanted,
  )


@pytest.mark.parametrize("form", ["naive", "tiled"])
def test_no_candidate_and_no_row_have_no_loss(form):
  def loss(curv, x, y):
    return weighted_losses()[form](
      Lorentz(curv), 9.0, x, y, jnp.zeros(4, bool), jnp.zeros(4)
    )

  points = jnp.full((4, 3), jnp.nan)
  function = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
  found = function(jnp.float32(1), points, points)
  assert not any(leaf.any() for leaf in jax.tree.leaves(found))


def test_a_space_without_cones_says_so():
  x = jnp.ones((2, 3))
  with pytest.raises(TypeError, match="no entailment cones"):
    entailment(Sphere(), x, x, 1.0)
