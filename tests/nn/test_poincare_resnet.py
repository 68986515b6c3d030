"""Poincare ResNet against the published code, and that code corrected."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.nn.hyperbolic import conv, resnet, tangent
from tests import golden_files

VARIANTS = {
  "official": ("published", "width"),
  "lambda_fixed": ("exact", "width"),
  "all_fixed": ("exact", "channels"),
}
# Most of the time here is compilation.
_QUICK_COMPILE = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}
NAMES = {"weights": "kernel", "z": "kernel", "mean": "bias", "var": "scale"}


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("hyperbolic_layers/poincare_resnet_mini")


@pytest.fixture(autouse=True)
def float64(standard_promotion):
  with jax.enable_x64(True):
    yield


def _net(variant):
  lambda_variant, skip_axis = VARIANTS[variant]
  return resnet.PoincareResNet(
    num_classes=5,
    depth=8,
    widths=(4, 8, 16),
    lambda_variant=lambda_variant,
    skip_axis=skip_axis,
  )


def _layer(path):
  """Where a layer of the published code is in our parameters.

  Returns:
    Path, and the row of a stack or None.
  """
  if len(path) == 1:
    own = {"conv": ("first", "conv"), "bn": ("first", "norm"), "fc": ("head",)}
    return own[path[0]], None
  group, block, layer = path
  if layer == "downsample":
    return (f"{group}_skip",), None
  kind = "conv" if layer.startswith("conv") else "norm"
  row = 2 * int(block) + int(layer[-1]) - 1
  if group == "group1":
    return (group, kind), row
  # The first layer, which has a stride, is apart.
  return ((group, kind), row - 1) if row else ((f"{group}_first", kind), None)


def _params(arrays):
  """Parameters, or their gradients, from those of the published code."""
  params, rows = {}, collections.defaultdict(dict)
  for key, value in arrays.items():
    *path, name = key.split(".")
    path = [p for p in path if p != "norm"]
    if name not in (*NAMES, "bias") or path[-1:] == ["ball"]:
      continue
    where, row = _layer(path)
    value = jnp.asarray(value)
    if name == "weights":
      size = 1 if where[0].endswith("skip") else 3
      value = value.reshape(-1, size, size, value.shape[-1])
      value = jnp.moveaxis(value, 0, 2)
    where = (*where, NAMES.get(name, name))
    if row is not None:
      rows[where][row] = value
      value = jnp.stack([rows[where][i] for i in sorted(rows[where])])
    at = params
    for part in where[:-1]:
      at = at.setdefault(part, {})
    at[where[-1]] = value
  return params


def _under(golden, prefix):
  return {
    key.removeprefix(prefix): value
    for key, value in golden.items()
    if key.startswith(prefix)
  }


@pytest.fixture(scope="module")
def start(golden):
  with jax.enable_x64(True):
    params = _params(_under(golden, "weights/"))
    images = jnp.moveaxis(jnp.asarray(golden["x"]), 1, -1)
    labels = jnp.asarray(golden["labels"])
    init = functools.partial(_net("all_fixed").init, train=True)
    variables = jax.eval_shape(init, jax.random.key(0), images, 0.1)
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(
      jnp.shape, params
    )
    stats = jax.tree.map(
      lambda a: jnp.full(a.shape, 0.1, a.dtype), variables["batch_stats"]
    )
    return params, stats, images, labels


def _is_layer(module, method):
  return isinstance(module, conv.PoincareConv) or method == "__call__"


@functools.cache
def _step(variant):
  """The compiled loss, its gradients, and the activations."""
  net = _net(variant)

  def loss(params, c, stats, images, labels):
    logits, state = net.apply(
      {"params": params, "batch_stats": stats},
      images,
      c,
      train=True,
      mutable=["batch_stats", "intermediates"],
      capture_intermediates=_is_layer,
    )
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return each.mean(), (logits, state["intermediates"])

  return jax.jit(
    jax.value_and_grad(loss, (0, 1), has_aux=True),
    compiler_options=_QUICK_COMPILE,
  )


def _assert_close(found, expected, rtol=1e-9, name=""):
  atol = rtol * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def _activations(seen):
  first = seen["first"]
  points = {
    "conv": first["conv"]["of_tangents"][0],
    "bn": first["norm"]["__call__"][0],
  }
  tangents = {name: tangent.to_tangent(x, 0.1) for name, x in points.items()}
  for group in ("group1", "group2", "group3"):
    tangents[group] = seen[group]["__call__"][0][-1]  # the last of the stack
  return {name: jnp.moveaxis(u, -1, 1) for name, u in tangents.items()}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients(golden, start, variant):
  params, stats, images, labels = start
  (value, (logits, seen)), (grads, grad_c) = _step(variant)(
    params, jnp.asarray(0.1), stats, images, labels
  )
  expected = _under(golden, f"{variant}/")
  _assert_close(logits, expected["logits"])
  _assert_close(value, expected["loss"])
  acts = _activations(seen)
  acts["avg_pool"] = seen["pooled"][0][:, :, None, None]
  acts["fc"] = logits
  for name, found in acts.items():
    _assert_close(found, expected[f"acts/{name}"], name=name)
  truth = _params(_under(golden, f"{variant}/grad/"))
  assert jax.tree.structure(grads) == jax.tree.structure(truth)
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(grads),
    jax.tree.leaves(truth),
    strict=True,
  ):
    _assert_close(a, b, name=str(path))
  if variant == "all_fixed":
    balls = _under(golden, "all_fixed/curvature_grad/")
    total = sum(g for key, g in balls.items() if key != "loss")
    np.testing.assert_allclose(grad_c, total, rtol=1e-9)


def _momentum_from_the_raw_gradient():
  """SGD as geoopt does it: the first gradient is in its buffer, undecayed."""

  def init(params):
    return jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params)

  def update(grads, state, params):
    count, buffer = state
    start = jax.tree.map(
      lambda g, m: jnp.where(count == 0, g, m), grads, buffer
    )
    buffer = jax.tree.map(
      lambda m, g, p: 0.9 * m + g + 1e-4 * p, start, grads, params
    )
    return jax.tree.map(lambda m: -0.003 * m, buffer), (count + 1, buffer)

  return optax.GradientTransformation(init, update)


def _decayed(optimizer):
  return optax.chain(optax.add_decayed_weights(1e-4), optimizer)


RUNS = {
  "sgd": _momentum_from_the_raw_gradient(),
  "adam": _decayed(optax.adam(1e-3)),
  "torch_sgd": _decayed(optax.sgd(0.003, momentum=0.9)),
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_training(golden, start, variant, run):
  params, stats, images, labels = start
  # The published backward clamps the denominators of short vectors.
  optimizer, rtol = RUNS[run], 1e-5 if variant == "official" else 1e-9
  update = jax.jit(optimizer.update)
  state, losses = optimizer.init(params), []
  for _ in range(10):
    (value, _), (grads, _) = _step(variant)(
      params, jnp.asarray(0.1), stats, images, labels
    )
    updates, state = update(grads, state, params)
    params = optax.apply_updates(params, updates)
    losses.append(value)
  prefix = f"{variant}/train_{run}/"
  np.testing.assert_allclose(losses, golden[f"{prefix}loss"], rtol=rtol)
  final = _params(_under(golden, f"{prefix}final/"))
  for path, expected in jax.tree_util.tree_leaves_with_path(final):
    found = functools.reduce(lambda tree, key: tree[key.key], path, params)
    _assert_close(found, expected, rtol, str(path))


@pytest.mark.slow
def test_evaluation_does_not_depend_on_the_batch(start):
  params, stats, images, _ = start
  net = _net("all_fixed")
  apply = jax.jit(
    functools.partial(net.apply, train=False), compiler_options=_QUICK_COMPILE
  )
  variables = {"params": params, "batch_stats": stats}
  images = images[:, :8, :8]  # any size
  whole = apply(variables, images, 0.1)
  alone = apply(variables, images[2:3], 0.1)
  np.testing.assert_allclose(whole[2:3], alone, rtol=1e-10)


@pytest.mark.parametrize("depth", [7, 2])
def test_a_depth_that_no_resnet_has(depth):
  with pytest.raises(ValueError, match=f"6 n \\+ 2, n >= 1; found {depth}"):
    resnet.PoincareResNet(5, depth).init(
      jax.random.key(0), jnp.zeros((1, 8, 8, 3)), 0.1, train=False
    )


def test_depth_is_scanned():
  """ResNet-32 has the parameters of ResNet-20's groups, longer."""
  images = jnp.zeros((1, 8, 8, 3))

  def shapes_of(depth):
    net = resnet.PoincareResNet(10, depth)
    init = functools.partial(net.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), images, 0.1)["params"]

  shapes = [shapes_of(depth) for depth in (20, 32)]
  assert shapes[0].keys() == shapes[1].keys()
  lengths = [
    [s[f"group{g}"]["conv"]["kernel"].shape[0] for g in (1, 2, 3)]
    for s in shapes
  ]
  assert lengths == [[6, 5, 5], [10, 9, 9]]
