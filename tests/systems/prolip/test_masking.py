"""Masks of images and texts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.systems.prolip import masking

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
