"""Bounds, dtypes and gradients of the dual encoder."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.systems import build, flops
from hyperclip_jax.systems.dual_encoder import bound_scalars
from hyperclip_jax.training import config
from tests import golden_files


def test_scalars_are_projected_into_their_bounds():
  params = {
    "logit_scale": jnp.asarray(9.0),
    "curv": jnp.asarray(-9.0),
    "visual_alpha": jnp.asarray(0.5),
    "textual_alpha": jnp.asarray(-0.5),
    "kernel": jnp.asarray(9.0),
  }
  bounded = bound_scalars(params)
  assert np.exp(bounded["logit_scale"]) == pytest.approx(100)
  assert np.exp(bounded["curv"]) == pytest.approx(0.1)
  assert bounded["visual_alpha"] == 0
  assert bounded["textual_alpha"] == -0.5
  assert bounded["kernel"] == 9


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_lift_of_zero_has_a_finite_gradient(name):
  model, params = golden_files.model(name)

  def total(tangents):
    return jnp.sum(model.apply({"params": params}, tangents, method="lift"))

  value, gradient = jax.value_and_grad(total)(jnp.zeros((2, 32)))
  assert value == 0
  assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("standard_promotion")
def test_bfloat16_towers_give_float32_embeddings():
  model, params = golden_files.model("hycoclip")
  golden = golden_files.arrays("hycoclip_mini")
  model = model.clone(
    vision=model.vision.clone(dtype=jnp.bfloat16),
    text=model.text.clone(dtype=jnp.bfloat16),
  )
  image, text = model.apply(
    {"params": params},
    jnp.asarray(golden["images"][0]),
    jnp.asarray(golden["tokens"][0]),
  )
  assert image.dtype == text.dtype == jnp.float32
  # bfloat16 keeps 8 bits: a few in a thousand of unit-size features.
  np.testing.assert_allclose(image, golden["feat/image"], atol=0.02)
  np.testing.assert_allclose(text, golden["feat/text"], atol=0.02)


@pytest.mark.parametrize(
  ("vit", "gigaflops"), [("S", 90.9), ("B", 246.5), ("L", 774.4)]
)
def test_flops_of_the_papers_models(vit, gigaflops):
  model = build.model(config.paper("hycoclip", vit))
  found = flops.train_step(model, 224, [77, 77], batch_size=1)
  assert found / 1e9 == pytest.approx(gigaflops, rel=2e-3)


def test_initial_scalars():
  model, _ = golden_files.model("hycoclip")
  params = model.init(
    jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 1), jnp.int32)
  )["params"]
  assert np.exp(params["logit_scale"]) == pytest.approx(1 / 0.07)
  assert np.exp(params["curv"]) == 1
  assert np.exp(params["visual_alpha"]) == pytest.approx(1 / math.sqrt(32))
