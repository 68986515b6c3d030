"""Cutting right padding never changes a text's feature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.systems import clip
from tests import golden_files


@pytest.mark.usefixtures("standard_promotion")
def test_cut_to_bucket_is_exact():
  tokens = golden_files.arrays("clip_mini")["tokens"][0]
  longest = int((tokens != 0).sum(axis=1).max())
  assert longest < tokens.shape[1]
  with jax.enable_x64(True):
    tower = TextTransformer(
      width=64, depth=2, heads=2, vocab=512, context=77, dtype=jnp.float64
    )
    params = jax.jit(tower.init)(jax.random.key(0), jnp.asarray(tokens))
    params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
    full = tower.apply(params, jnp.asarray(tokens))
    cut = tower.apply(params, jnp.asarray(tokens[:, :longest]))
  # Equal up to the rounding of float64 sums of another length.
  np.testing.assert_allclose(cut, full, atol=1e-13, rtol=0)


def test_cut_past_the_end_token_changes_it():
  release = golden_files.model("clip")
  encoder = clip.encoder(release.options)
  tokens = golden_files.arrays("clip_mini")["tokens"][0]
  longest = int((tokens != 0).sum(axis=1).max())

  def encode(tokens):
    return encoder.text(release.variables, jnp.asarray(tokens))

  short, full = encode(tokens[:, : longest - 1]), encode(tokens)
  assert np.abs(short - full).max() > 1e-3


def test_too_long_text_is_named():
  tower = TextTransformer(width=8, depth=1, heads=1, vocab=16, context=4)
  with pytest.raises(ValueError, match=r"5 tokens does not fit .* of 4"):
    tower.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
