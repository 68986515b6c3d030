"""Bounds, dtypes and gradients of the dual encoder."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import flops
from hyperclip_jax import systems
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.training import config, sharding
from tests import golden_files


def test_scalars_are_projected_into_their_bounds():
  params = {
    "logit_scale": jnp.asarray(9.0),
    "curv": jnp.asarray(-9.0),
    "visual_alpha": jnp.asarray(0.5),
    "textual_alpha": jnp.asarray(-0.5),
    "kernel": jnp.asarray(9.0),
  }
  module = systems.find("hycoclip")
  task = module.task(module.Options(), View(), sharding.make_mesh())
  bounded = task.project({"params": params, "ema": 3})
  assert bounded["ema"] == 3
  bounded = bounded["params"]
  assert np.exp(bounded["logit_scale"]) == pytest.approx(100)
  assert np.exp(bounded["curv"]) == pytest.approx(0.1)
  assert bounded["visual_alpha"] == 0
  assert bounded["textual_alpha"] == -0.5
  assert bounded["kernel"] == 9


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_lift_of_zero_has_a_finite_gradient(name):
  system, options, variables = golden_files.model(name)
  space = systems.find(system).encoder(options).space(variables["params"])

  def total(tangents):
    return jnp.sum(space.lift(tangents))

  value, gradient = jax.value_and_grad(total)(jnp.zeros((2, 32)))
  assert value == 0
  assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("standard_promotion")
def test_bfloat16_towers_give_float32_embeddings():
  system, options, variables = golden_files.model("hycoclip")
  golden = golden_files.arrays("hycoclip_mini")
  options = dataclasses.replace(options, dtype="bfloat16")
  e = systems.find(system).encoder(options)
  image = e.image(variables, jnp.asarray(golden["images"][0]))
  text = e.text(variables, jnp.asarray(golden["tokens"][0]))
  assert image.dtype == text.dtype == jnp.float32
  space = e.space(variables["params"])
  # bfloat16 keeps 8 bits: a few in a thousand of unit-size features.
  np.testing.assert_allclose(space.lift(image), golden["feat/image"], atol=0.02)
  np.testing.assert_allclose(space.lift(text), golden["feat/text"], atol=0.02)


@pytest.mark.parametrize(
  ("vit", "gigaflops"), [("S", 90.9), ("B", 246.5), ("L", 774.4)]
)
def test_flops_of_the_papers_models(vit, gigaflops):
  options = config.options(config.paper("hycoclip", vit))
  found = flops.train_step(options, [77, 77], batch_size=1)
  assert found / 1e9 == pytest.approx(gigaflops, rel=2e-3)


def test_initial_scalars():
  system, options, _ = golden_files.model("hycoclip")
  init = systems.find(system).encoder(options).init
  params = jax.jit(init)(jax.random.key(0))["params"]
  assert np.exp(params["logit_scale"]) == pytest.approx(1 / 0.07)
  assert np.exp(params["curv"]) == 1
  assert np.exp(params["visual_alpha"]) == pytest.approx(1 / math.sqrt(32))


@pytest.mark.parametrize("name", systems.names())
def test_reports_name_towers_by_their_sizes(name):
  options = systems.find(name).Options()
  for tower in ("vision", "text"):
    if hasattr(options, tower):
      sizes = getattr(options, tower)
      words = f"{sizes.depth} layers of {sizes.width}"
      assert str(sizes).startswith(words)
