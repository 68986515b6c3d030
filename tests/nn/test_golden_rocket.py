"""Towers and projectors against the published code, in float64."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from hyperclip_jax.losses import selfsup
from hyperclip_jax.nn.batch_norm import BatchNorm
from hyperclip_jax.nn.projector import Projector
from hyperclip_jax.nn.resnet import ResNet
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.vit import ViT
from hyperclip_jax.systems import leaves as leaves_lib
from hyperclip_jax.systems.rocket import layout
from tests import golden_rocket
from tests.golden_rocket import under

pytestmark = pytest.mark.usefixtures("standard_promotion")
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def to_state(places, tree, patch):
  return leaves_lib.to_state(places, jax.tree.map(np.asarray, tree), patch)


def wide(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def float64(leaves, state):
  return wide(leaves_lib.to_tree(dict(leaves), state))


def norms(leaves, grads, patch=8):
  """Norms of gradients by published name."""
  params = {k: v for k, v in leaves.items() if v.path[0] == "params"}
  state = to_state(params, {"params": grads}, patch)
  return {name: np.linalg.norm(x.ravel()) for name, x in state.items()}


def assert_norms(golden, found):
  names = golden["out/grad_norm_names"].tolist()
  for name, wanted in zip(names, golden["out/grad_norms"], strict=True):
    if name in found:
      np.testing.assert_allclose(
        found[name], wanted, rtol=1e-7, atol=1e-9, err_msg=name
      )
  assert set(found) <= set(names)


def test_resnet_equals_official():
  golden = under(golden_rocket.arrays("towers"), "resnet")
  blocks = (2, 1, 1, 1)
  leaves = dict(layout.resnet(blocks))
  with jax.enable_x64(True):
    tower: Any = ResNet(blocks, (4, 6, 8, 12), dtype=jnp.float64)
    variables = float64(leaves.items(), under(golden, "params"))
    images = wide(golden["in/images"])

    @jax.jit
    def value(params, images):
      out, new = tower.apply(
        {**variables, "params": params}, images, True, mutable=["batch_stats"]
      )
      return jnp.sum(out * golden["in/cotangent"]), (out, new)

    step = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))
    (_, (out, new)), (grads, grad_images) = step(variables["params"], images)
    evaluate = jax.jit(tower.apply)
    before = evaluate(variables, images)
    after = evaluate({**variables, **new}, images)
    stats = {
      name: leaf for name, leaf in leaves.items() if leaf.path[0] != "params"
    }
    found = to_state(stats, new, 0)
    grad_state = to_state(
      {k: v for k, v in leaves.items() if k not in stats}, {"params": grads}, 0
    )
    np.testing.assert_allclose(out, golden["out/features_train"], **TIGHT)
    np.testing.assert_allclose(
      before, golden["out/features_eval_before"], **TIGHT
    )
    np.testing.assert_allclose(
      after, golden["out/features_eval_after"], **TIGHT
    )
    np.testing.assert_allclose(grad_images, golden["grad_in/images"], **TIGHT)
    assert_norms(golden, norms(leaves, grads))
  for name, wanted in under(golden, "grad_params").items():
    np.testing.assert_allclose(grad_state[name], wanted, **TIGHT)
  for name, wanted in under(golden, "buffers_after").items():
    np.testing.assert_allclose(found[name], wanted, **TIGHT)


def test_resnet_50_is_the_published_one():
  tower: Any = ResNet()
  shapes = jax.eval_shape(
    tower.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )
  leaves = jax.tree.leaves(shapes["params"])
  assert sum(leaf.size for leaf in leaves) == 23_508_032
  assert tower.width == 2048


def test_resnet_starts_as_published():
  tower: Any = ResNet((1,), (8,))
  init = jax.jit(tower.init, static_argnums=2)
  variables = init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  params = variables["params"]
  assert not params["layer1_0"]["bn3"]["scale"].any()
  assert params["layer1_0"]["bn2"]["scale"].all()
  kernel = params["conv1"]["kernel"]
  wanted = (2 / (7 * 7 * 64)) ** 0.5
  np.testing.assert_allclose(np.std(kernel), wanted, rtol=0.05)
  # Initialising is no training: it leaves the running statistics.
  trained = init(jax.random.key(0), jnp.ones((2, 32, 32, 3)), True)
  jax.tree.map(
    np.testing.assert_array_equal,
    trained["batch_stats"],
    variables["batch_stats"],
  )


def test_vit_equals_official():
  golden = under(golden_rocket.arrays("towers"), "vit")
  leaves = dict(layout.vit(2))
  with jax.enable_x64(True):
    tower: Any = ViT(
      width=24,
      depth=2,
      heads=int(golden["in/heads"]),
      patch=int(golden["in/patch"]),
      positions="learned",
      epsilon=1e-6,
      dtype=jnp.float64,
    )
    variables = float64(leaves.items(), under(golden, "params"))

    @jax.jit
    def value(variables, images):
      out = tower.apply(variables, images)
      return jnp.sum(out * golden["in/cotangent"]), out

    step = jax.value_and_grad(value, (0, 1), has_aux=True)
    images = wide(golden["in/images"])
    (_, out), (grads, grad_images) = step(variables, images)
    np.testing.assert_allclose(out, golden["out/features"], **TIGHT)
    np.testing.assert_allclose(grad_images, golden["grad_in/images"], **TIGHT)
    assert_norms(golden, norms(leaves, grads["params"]))


def test_text_tower_equals_official():
  golden = under(golden_rocket.arrays("towers"), "text")
  leaves = dict(layout.text(2))
  tokens = jnp.asarray(golden["in/tokens"])
  rate = float(golden["in/dropout_rate"])
  shape = golden["in/dropout_keep_shape"]
  keep = np.unpackbits(golden["in/dropout_keep"])[: shape.prod()]
  masks = keep.reshape(shape).astype(bool)
  used = []

  def next_mask(_):
    used.append(len(used))
    return masks[used[-1]]

  def with_their_mask(call, args, kwargs, context):
    if not isinstance(context.module, nn.Dropout):
      return call(*args, **kwargs)
    mask = jax.ShapeDtypeStruct(masks.shape[1:], bool)
    # With the input as an operand, so that it is not hoisted out of the scan.
    kept = io_callback(next_mask, mask, args[0], ordered=True)
    return jnp.where(kept, args[0] / (1 - rate), 0)

  with jax.enable_x64(True):
    tower: Any = TextTransformer(
      width=32,
      depth=2,
      heads=int(golden["in/heads"]),
      vocab=64,
      context=77,
      activation="quick_gelu",
      dropout=rate,
      dtype=jnp.float64,
    )
    variables = float64(leaves.items(), under(golden, "params"))

    @jax.jit
    def value(variables):
      out = tower.apply(variables, tokens)
      return jnp.sum(out * golden["in/cotangent"]), out

    (_, out), grads = jax.value_and_grad(value, has_aux=True)(variables)
    np.testing.assert_allclose(out, golden["out/features"], **TIGHT)
    assert_norms(golden, norms(leaves, grads["params"]))
    np.testing.assert_allclose(
      grads["params"]["position_embed"],
      golden["grad_params/positional_embedding"],
      **TIGHT,
    )
    with nn.intercept_methods(with_their_mask):
      strong = tower.apply(
        variables, tokens, True, rngs={"dropout": jax.random.key(0)}
      )
    np.testing.assert_allclose(
      strong, golden["out/features_strong_with_dropout"], **TIGHT
    )
  assert used == [0, 1]


def test_dropout_at_rate_0_or_in_evaluation_changes_nothing():
  tokens = jnp.asarray([[1, 5, 7, 15]])

  def tower(rate) -> Any:
    return TextTransformer(
      width=8, depth=2, heads=2, vocab=16, context=4, dropout=rate
    )

  variables = tower(0.5).init(jax.random.key(0), tokens)
  wanted = tower(0.0).apply(variables, tokens)
  rngs = {"dropout": jax.random.key(1)}
  for found in (
    tower(0.5).apply(variables, tokens),
    tower(0.0).apply(variables, tokens, True, rngs=rngs),
  ):
    np.testing.assert_array_equal(found, wanted)
  dropped = tower(0.5).apply(variables, tokens, True, rngs=rngs)
  assert np.abs(dropped - wanted).max() > 1e-3


class Siam(nn.Module):
  """Weak view 0 and strong views 1 and 2 through SiamLIP's heads."""

  def setup(self):
    self.projector = Projector((13,), 6, hidden_bias=False, bias=False)
    self.weak = BatchNorm(affine=False)
    self.strong = BatchNorm(affine=False)
    self.predictor = Projector((13,), 6, hidden_bias=False)

  def __call__(self, views, train=False):
    out = {}
    for number, view in enumerate(views):
      norm = self.strong if number else self.weak
      v = norm(self.projector(view, train), train)
      out[f"v_view{number}"] = v
      out[f"p_view{number}"] = self.predictor(v, train)
    return out


class Barlow(nn.Module):
  """BarLIP's head: its last BatchNorm is a module of its own."""

  @nn.compact
  def __call__(self, views, train=False):
    projector = Projector((13, 13), 11, name="projector")
    norm = BatchNorm(name="norm")
    return {
      f"view{i}": norm(projector(view, train), train)
      for i, view in enumerate(views)
    }


class Plain(nn.Module):
  """A projector alone."""

  projector: Projector
  prefix: str = ""

  def __call__(self, views, train=False):
    return {
      f"{self.prefix}view{i}": self.projector(view, train)
      for i, view in enumerate(views)
    }


def sequential(prefix, at, hidden, hidden_bias=True, bias=True):
  """Leaves of a torch Sequential: Linear, BatchNorm, ReLU, ..."""
  for i in range(hidden):
    yield from layout.dense(
      f"{prefix}{3 * i}", (*at, f"layer{i + 1}"), hidden_bias
    )
    yield from layout.batch_norm(f"{prefix}{3 * i + 1}", (*at, f"bn{i + 1}"))
  yield from layout.dense(
    f"{prefix}{3 * hidden}", (*at, f"layer{hidden + 1}"), bias
  )


def named(at):
  for i in (1, 2):
    yield from layout.dense(f"projector.layer{i}", (*at, f"layer{i}"))
    yield from layout.batch_norm(f"projector.bn{i}", (*at, f"bn{i}"))
  yield from layout.dense("projector.layer3", (*at, "layer3"))


AT = ("projector",)
HEADS: Any = {
  "strong": (Plain(Projector((14, 14), 6)), [*named(AT)]),
  "barlip": (
    Barlow(),
    [
      *sequential("projector.", AT, 2),
      *layout.batch_norm("projector.7", ("norm",)),
    ],
  ),
  "siamlip": (
    Siam(),
    [
      *sequential("projector_global.0.", AT, 1, False, False),
      *layout.batch_norm("projector_global.1", ("weak",), affine=False),
      *layout.batch_norm("projector_local.1", ("strong",), affine=False),
      *sequential("predictor.", ("predictor",), 1, False),
    ],
  ),
  "swalipv1": (
    Plain(Projector((13,), 5), "h_"),
    [*sequential("projector.", AT, 1)],
  ),
}


@pytest.mark.parametrize("name", HEADS)
def test_projectors_equal_official(name):
  golden = under(golden_rocket.arrays("projector"), name)
  head, leaves = HEADS[name]
  leaves = dict(leaves)
  cotangents = under(golden, "cotangent")
  with jax.enable_x64(True):
    variables = float64(leaves.items(), under(golden, "params"))
    views = [
      jnp.asarray(golden[key]) for key in sorted(golden) if key[:3] == "in/"
    ]

    @jax.jit
    def value(params, views):
      out, new = head.apply(
        {**variables, "params": params}, views, True, mutable=["batch_stats"]
      )
      if name == "swalipv1":
        prototypes = jnp.asarray(golden["params/prototypes.weight_v"])
        out["p_view0"] = selfsup.prototype_cosines(out["h_view0"], prototypes)
      total = sum(jnp.sum(cotangents[key] * out[key]) for key in out)
      return total, (out, new)

    step = jax.value_and_grad(value, (0, 1), has_aux=True)
    (_, (out, new)), (grads, grad_views) = step(variables["params"], views)
    evaluated = head.apply({**variables, **new}, views)
    stats = {k: v for k, v in leaves.items() if v.path[0] != "params"}
    params = {k: v for k, v in leaves.items() if k not in stats}
    found = to_state(stats, new, 0)
    found_grads = to_state(params, {"params": grads}, 0)
  for key, wanted in under(golden, "out").items():
    np.testing.assert_allclose(out[key], wanted, err_msg=key, **TIGHT)
  for key, wanted in under(golden, "eval_out_of_view0").items():
    if key in ("view0", "v_view0"):
      np.testing.assert_allclose(evaluated[key], wanted, err_msg=key, **TIGHT)
  for i, grad in enumerate(grad_views):
    np.testing.assert_allclose(grad, golden[f"grad_in/view{i}"], **TIGHT)
  compared = 0
  for key, wanted in under(golden, "grad_params").items():
    if key in found_grads:
      compared += 1
      np.testing.assert_allclose(found_grads[key], wanted, err_msg=key, **TIGHT)
  assert compared == len(found_grads)
  for key, wanted in under(golden, "buffers_after").items():
    np.testing.assert_allclose(found[key], wanted, err_msg=key, **TIGHT)
  assert found.keys() <= under(golden, "buffers_after").keys()


def test_statistics_are_those_of_a_view_and_of_all_devices():
  projector: Any = Projector((8,), 4)
  one, other = jax.random.normal(jax.random.key(0), (2, 16, 6))
  variables = jax.jit(projector.init)(jax.random.key(1), one)

  def train(variables, x):
    out, new = projector.apply(variables, x, True, mutable=["batch_stats"])
    return out, {**variables, **new}

  alone, _ = train(variables, one)
  both, _ = train(variables, jnp.concatenate([one, 3 + other]))
  assert np.abs(both[:16] - alone).max() > 0.1
  mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
  rows = jax.NamedSharding(mesh, jax.P("data"))
  sharded, new = jax.jit(train)(variables, jax.device_put(one, rows))
  np.testing.assert_allclose(sharded, alone, atol=1e-6)
  wanted = train(variables, one)[1]["batch_stats"]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    new["batch_stats"],
    wanted,
  )
