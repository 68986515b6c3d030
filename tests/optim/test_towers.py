"""Learning rates fall from the last block to the first."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.optim import towers
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build
from tests import small

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_updates_are_those_of_adamw_times_a_factor_by_layer():
  config = small.config("clip")
  config.optim.warmup = 0
  task = build.task(config, jax.make_mesh((1, 1), ("data", "model")))
  shapes = variable_shapes(build.encoder(config))["params"]
  params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
  grads = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), shapes)

  def updates():
    optimizer = build.optimizer(config, task.rules)
    return jax.jit(optimizer.update)(grads, optimizer.init(params), params)[0]

  plain = updates()
  config.optim.layer_decay = 0.5
  found = updates()
  ratio = jax.tree.map(
    lambda a, b: float(jnp.max(jnp.abs(a / b))), found, plain
  )
  for tower in ("vision", "text"):
    blocks = jax.tree.map(
      jnp.divide,
      found[tower]["transformer"]["blocks"],
      plain[tower]["transformer"]["blocks"],
    )
    for leaf in jax.tree.leaves(blocks):
      np.testing.assert_allclose(leaf[0], 0.25, rtol=1e-5)
      np.testing.assert_allclose(leaf[1], 0.5, rtol=1e-5)
    norm = ratio[tower]["transformer"]["norm"]
    np.testing.assert_allclose([*norm.values()], 1)
  np.testing.assert_allclose(ratio["vision"]["cls"], 0.125, rtol=1e-5)
  np.testing.assert_allclose(
    ratio["text"]["token_embed"]["embedding"], 0.125, rtol=1e-5
  )
  assert ratio["logit_scale"] == 1
  assert ratio["visual_proj"]["kernel"] == 1


def test_a_decay_of_one_changes_nothing():
  tree = {"vision": {"transformer": {"blocks": {"a": jnp.ones((3, 2))}}}}
  optimizer = towers.by_layer(("vision", "text"), 1.0)
  found, _ = optimizer.update(tree, optimizer.init(tree))
  assert optax.tree.norm(found) == optax.tree.norm(tree)
