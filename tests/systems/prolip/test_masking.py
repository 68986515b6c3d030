"""Masks of images and texts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.data.feed.views import View
from hyperclip_jax.systems import prolip
from hyperclip_jax.systems.prolip import masking
from hyperclip_jax.training import sharding
from tests.systems.prolip import golden

TOKENS = jnp.asarray(
  np.random.default_rng(0).integers(0, 9, (400, 16)), jnp.int32
)
MASK, PAD = 20, 1


def masked(probability, seed=0):
  key = jax.random.key(seed)
  return masking.masked_tokens(key, TOKENS, probability, MASK, PAD)


def test_probabilities_of_zero_and_one():
  np.testing.assert_array_equal(masked(0.0), TOKENS)
  pads = TOKENS == PAD
  np.testing.assert_array_equal(masked(1.0), np.where(pads, PAD, MASK))


def test_each_token_is_masked_by_a_draw_of_its_own():
  found = np.asarray(masked(0.75))
  words = np.asarray(TOKENS != PAD)
  np.testing.assert_array_equal(found[~words], PAD)
  share = (found == MASK)[words].mean()
  assert share == pytest.approx(0.75, abs=0.02)
  np.testing.assert_array_equal(found[found != MASK], TOKENS[found != MASK])
  assert np.any(found != masked(0.75, seed=1))


@pytest.mark.parametrize(
  ("ratio", "count"), [(0.75, 12), (0.25, 4), (1.0, 16), (0.74, 11), (1e-3, 1)]
)
def test_kept_patches_are_some_of_them_in_order(ratio, count):
  sets = set()
  for seed in range(3):
    found = masking.kept_patches(jax.random.key(seed), 16, ratio).tolist()
    assert len(found) == count
    assert sorted(set(found)) == found
    assert set(found) <= set(range(16))
    sets.add(tuple(found))
  assert len(sets) > 1 or count == 16


def test_some_examples_are_masked():
  assert masking.rows(512, 0.125) == 64
  assert masking.rows(15, 0.125) == 1
  assert masking.rows(2, 0.125) == 1
  assert masking.rows(2, 0.0) == 0


@pytest.mark.usefixtures("standard_promotion")
def test_a_batch_is_embedded_with_the_masked_forms_of_its_first_examples():
  o, variables = golden.model()
  mini = golden.mini()
  batch = {
    "whole": {
      "image": jnp.asarray(golden.pixels(mini, np.float32)[0]),
      "text": jnp.asarray(mini["tokens"][0]),
    }
  }

  def embed(key, **options):
    changed = dataclasses.replace(o, masked_share=0.25, **options)
    task = prolip.task(changed, View(lengths=(8, 16)), sharding.make_mesh())
    assert task.views["whole"].lengths == (16,)
    return jax.jit(task.embed)(variables, batch, jax.random.key(key))[0]

  same = embed(0, text_mask=0.0, image_keep_ratio=1.0)
  masked = same["masked"]
  np.testing.assert_array_equal(masked["valid"], np.arange(16) < 4)
  for kind in ("image", "text"):
    whole = same["whole"][kind]
    np.testing.assert_allclose(masked[kind][:4], whole[:4], atol=2e-5)
    assert not masked[kind][4:].any()
  first, again, other = (embed(key) for key in (0, 0, 1))
  for kind in ("image", "text"):
    rows = first["masked"][kind]
    assert np.abs(rows[:4] - first["whole"][kind][:4]).max() > 1e-3
    np.testing.assert_array_equal(rows, again["masked"][kind])
    assert np.any(rows != other["masked"][kind])
  assert "masked" not in embed(0, masked_weight=0.0)
