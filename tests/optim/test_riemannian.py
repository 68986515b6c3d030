"""Riemannian optimisers against golden numbers, optax and geodesics."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.geometry import lorentz, manifolds, poincare
from hyperclip_jax.optim import riemannian
from tests import golden_files

SGD = functools.partial(riemannian.riemannian_sgd, 0.1)
ADAM = functools.partial(riemannian.riemannian_adam, 0.05)
# Weight decay of the golden runs is on points too: see `_optimizer`.
RUNS = {
  "sgd": SGD,
  "sgd_momentum": functools.partial(SGD, momentum=0.9),
  "sgd_nesterov": functools.partial(SGD, momentum=0.9, nesterov=True),
  "sgd_dampening": functools.partial(SGD, momentum=0.9, dampening=0.5),
  "sgd_momentum_decay": functools.partial(SGD, momentum=0.9),
  "adam": ADAM,
  "adam_decay": ADAM,
  "adam_amsgrad": functools.partial(ADAM, b2=0.99, amsgrad=True),
}


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("hyperbolic_layers/optim_float64")


@pytest.fixture
def float64(standard_promotion):
  with jax.enable_x64(True):
    yield


def _optimizer(run, labels):
  decay = 1e-2 if run.endswith("decay") else 0.0
  return optax.chain(optax.add_decayed_weights(decay), RUNS[run](labels))


def _train(golden, run, labels, view):
  """Ten steps of the golden problem; what it recorded, by name."""
  constants = {k: jnp.asarray(v) for k, v in golden.items() if "/" not in k}

  def loss(params):
    x = view(params["x"], constants["c"])
    near = poincare.dist(x, constants["y"], constants["c"]) ** 2
    flat = constants["A"] @ params["W"] + params["b"][None]
    return jnp.mean(near) + jnp.mean((flat - constants["target"]) ** 2)

  optimizer = _optimizer(run, labels)

  @jax.jit
  def step(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  x0 = constants["x0"]
  if view is poincare.from_lorentz:
    x0 = poincare.to_lorentz(x0, constants["c"])
  params = {"x": x0, "W": constants["W0"], "b": constants["b0"]}
  state, found = optimizer.init(params), []
  for _ in range(10):
    params, state, value = step(params, state)
    seen = params | {"x": view(params["x"], constants["c"])}
    found.append(seen | {"loss": value})
  return {k: np.stack([row[k] for row in found]) for k in found[0]}


def _assert_equal_to(golden, prefix, found, names):
  for name in names:
    expected = golden[f"{prefix}/{name}"]
    atol = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(
      found[name], expected, rtol=0, atol=atol, err_msg=name
    )


@pytest.mark.parametrize("run", RUNS)
def test_golden(golden, run, float64):
  labels = {"x": manifolds.Poincare(golden["c"]), "W": None, "b": None}
  found = _train(golden, run, labels, lambda x, c: x)
  _assert_equal_to(golden, f"spec/{run}", found, ("loss", "x", "W", "b"))
  _assert_equal_to(golden, f"torch_flat/{run}", found, ("W", "b"))


@pytest.mark.parametrize("run", [r for r in RUNS if not r.endswith("decay")])
def test_the_hyperboloid_takes_the_same_steps(golden, run, float64):
  labels = {"x": manifolds.Lorentz(golden["c"]), "W": None, "b": None}
  found = _train(golden, run, labels, poincare.from_lorentz)
  _assert_equal_to(golden, f"spec/{run}", found, ("loss", "x", "W", "b"))


def _schedule(count):
  return 0.1 / (1 + count)


@pytest.mark.parametrize("rate", [0.1, _schedule])
@pytest.mark.parametrize(
  ("ours", "theirs"),
  [
    (riemannian.riemannian_sgd, optax.sgd),
    (
      functools.partial(riemannian.riemannian_sgd, momentum=0.9),
      functools.partial(optax.sgd, momentum=0.9),
    ),
    (
      functools.partial(riemannian.riemannian_sgd, momentum=0.9, nesterov=True),
      functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    ),
    (riemannian.riemannian_adam, optax.adam),
  ],
)
@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit])
def test_flat_leaves_are_those_of_optax(
  ours, theirs, rate, compile_, standard_promotion
):
  rng = np.random.default_rng(0)
  params = {
    "kernel": rng.normal(size=(5, 7)).astype(np.float32),
    "half": jnp.asarray(rng.normal(size=3), jnp.bfloat16),
  }
  params = jax.tree.map(jnp.asarray, params)
  results = []
  for optimizer in (ours(rate, {"kernel": None, "half": None}), theirs(rate)):
    found, state = params, optimizer.init(params)
    update = compile_(optimizer.update)
    for i in range(5):
      grads = jax.tree.map(lambda p, i=i: jnp.sin(p * (i + 1)), found)
      updates, state = update(grads, state, found)
      found = optax.apply_updates(found, updates)
    results.append(found)
  for a, b in zip(*map(jax.tree.leaves, results), strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def test_weight_decay_is_for_flat_leaves(standard_promotion):
  params = {"x": jnp.ones((2, 3)), "kernel": jnp.ones(3)}
  labels = {"x": manifolds.Lorentz(1.0), "kernel": None}
  for make in (riemannian.riemannian_sgd, riemannian.riemannian_adam):
    optimizer = make(0.1, labels, weight_decay=0.5)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["x"], 0)
    assert np.all(updates["kernel"] < -0.01)


def _far(count=4, dim=3, seed=0):
  v = np.random.default_rng(seed).normal(size=(count, dim))
  return lorentz.expmap0(jnp.asarray(v), 1.0)


def test_momentum_is_carried_along(float64):
  """With no gradient left it keeps its length, and x its geodesic."""
  x, manifold = _far(), manifolds.Lorentz(1.0)
  optimizer = riemannian.riemannian_sgd(0.1, manifold, momentum=1.0)
  grads = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
  start = x
  state: Any = optimizer.init(x)
  updates, state = optimizer.update(grads, state, x)
  x = x + updates
  length = manifold.squared_length(x, state.moments[0][0])
  for _ in range(9):
    updates, state = optimizer.update(jnp.zeros_like(x), state, x)
    x = x + updates
  np.testing.assert_allclose(
    manifold.squared_length(x, state.moments[0][0]), length, rtol=1e-12
  )
  # Ten steps along one geodesic are one step ten times as long.
  whole = manifold.expmap(start, -manifold.gradient(start, grads))
  np.testing.assert_allclose(x, whole, rtol=1e-11)


def test_adam_has_one_second_moment_a_point(float64):
  x = _far()
  optimizer = riemannian.riemannian_adam(0.1, manifolds.Lorentz(1.0))
  state: Any = optimizer.init(x)
  ((mu, nu),) = state.moments
  assert nu.shape == x.shape[:-1]
  assert mu.shape == x.shape


@pytest.mark.parametrize(
  "make", [riemannian.riemannian_sgd, riemannian.riemannian_adam]
)
def test_it_reaches_a_mean(make, float64):
  """Also with a curvature that is a parameter, and trained."""
  target = _far(8)

  def labels(params):
    return {"x": manifolds.Lorentz(jnp.exp(params["log_c"])), "log_c": None}

  def loss(params):
    c = jnp.exp(params["log_c"])
    d = lorentz.dist(params["x"], target, c)
    return jnp.mean(d**2) + (params["log_c"] - 0.5) ** 2

  params = {"x": jnp.zeros((1, 3)), "log_c": jnp.asarray(0.0)}
  optimizer = make(0.05, labels)

  @jax.jit
  def run(params):
    def step(carry, _):
      params, state = carry
      grads = jax.grad(loss)(params)
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    start = (params, optimizer.init(params))
    return jax.lax.scan(step, start, length=800)[0][0]

  found = run(params)
  slope = jax.grad(loss)(found)
  size = jax.tree.map(lambda g: float(jnp.abs(g).max()), slope)
  assert size["x"] < 2e-2
  assert size["log_c"] < 2e-2


def test_rows_of_a_table(float64):
  table, manifold = _far(6), manifolds.Lorentz(1.0)
  ids = jnp.asarray([[4, 1], [4, 0]])
  grads = jnp.asarray(np.random.default_rng(1).normal(size=(2, 2, 3)))
  dense = jnp.zeros_like(table).at[ids].add(grads)
  optimizer = riemannian.riemannian_sgd(0.3, manifold)
  updates, _ = optimizer.update(dense, optimizer.init(table), table)
  found = jax.jit(riemannian.sgd_rows)(table, ids, grads, 0.3, manifold)
  np.testing.assert_allclose(found, table + updates, rtol=1e-12)
  np.testing.assert_array_equal(
    found[jnp.asarray([2, 3, 5])], table[jnp.asarray([2, 3, 5])]
  )
  capped = riemannian.sgd_rows(table, ids, 100 * grads, 0.3, manifold, 0.5)
  moved = lorentz.dist(table, capped, 1.0)
  np.testing.assert_allclose(moved[jnp.asarray([0, 1, 4])], 0.5, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_rows_by_narrow_numbers(dtype):
  last = min(np.iinfo(dtype).max, 1999)
  ids = jnp.asarray(np.array([last, 7, last] * 30, dtype))
  moved = riemannian.sgd_rows(
    jnp.zeros((2000, 1)), ids, jnp.ones((90, 1)), 0.01, manifolds.Lorentz(1.0)
  )
  assert np.flatnonzero(moved).tolist() == [7, last]


def test_rows_from_the_end_and_none():
  table, manifold = jnp.zeros((4, 1)), manifolds.Lorentz(1.0)
  ids, grads = jnp.asarray([-1, 3, 0]), jnp.ones((3, 1))
  moved = riemannian.sgd_rows(table, ids, grads, 0.5, manifold)
  wanted = [-np.sinh(0.5), 0, 0, -np.sinh(1)]
  np.testing.assert_allclose(moved[:, 0], wanted, rtol=1e-6)
  same = riemannian.sgd_rows(table, ids[:0], grads[:0], 0.5, manifold)
  np.testing.assert_array_equal(same, table)


def test_it_needs_params():
  optimizer = riemannian.riemannian_sgd(0.1, None)
  x = jnp.zeros(3)
  with pytest.raises(ValueError, match="params"):
    optimizer.update(x, optimizer.init(x))


@pytest.mark.parametrize("run", ["sgd_nesterov", "adam_amsgrad"])
def test_factors_of_a_product_move_as_leaves_of_their_own(
  run, standard_promotion
):
  rng = np.random.default_rng(0)
  kinds = {
    "a": manifolds.Lorentz(1.0),
    "b": manifolds.Poincare(0.5),
    "c": manifolds.Flat(),
  }
  sizes = {"a": 2, "b": 3, "c": 1}
  apart = {
    name: jnp.asarray(0.1 * rng.normal(size=(4, size)), jnp.float32)
    for name, size in sizes.items()
  }
  product = manifolds.Product(tuple(kinds.values()), tuple(sizes.values()))
  both = [(RUNS[run](kinds), apart), (RUNS[run](product), _joined(apart))]

  def steps(optimizer, params, grads):
    state = optimizer.init(params)
    for g in grads:
      updates, state = optimizer.update(g, state, params)
      params = optax.apply_updates(params, updates)
    return params

  grads = [
    {
      k: jnp.asarray(rng.normal(size=v.shape), v.dtype)
      for k, v in apart.items()
    }
    for _ in range(3)
  ]
  found = [
    jax.jit(functools.partial(steps, optimizer))(params, g)
    for (optimizer, params), g in zip(
      both, (grads, [_joined(g) for g in grads]), strict=True
    )
  ]
  np.testing.assert_allclose(found[1], _joined(found[0]), rtol=2e-6, atol=1e-8)


def _joined(parts):
  return jnp.concatenate(list(parts.values()), axis=-1)


def test_rows_of_a_product_move_in_each_factor(standard_promotion):
  product = manifolds.Product(
    (manifolds.Lorentz(1.0), manifolds.Flat()), (1, 2)
  )
  table = jnp.zeros((3, 3))
  found = riemannian.sgd_rows(
    table, jnp.array([1, 1]), jnp.ones((2, 3)), 0.5, product, longest=0.5
  )
  wanted = np.zeros((3, 3))
  wanted[1] = [-np.sinh(0.5), -0.5, -0.5]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_product_that_does_not_fit():
  product = manifolds.Product((manifolds.Flat(),), (2,))
  with pytest.raises(ValueError, match=r"\(2,\) coordinates do not fit rows"):
    product.gradient(jnp.zeros(3), jnp.zeros(3))
