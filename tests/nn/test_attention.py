"""Attention on a length that cuDNN takes equals attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.nn import transformer


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [7, 8])
def test_even_attention_equals_attention(length, causal):
  q, k, v = jax.random.normal(jax.random.key(0), (3, 2, length, 2, 4))

  def plain(q, k, v):
    return transformer.attention(q, k, v, causal)

  def even(q, k, v):
    return transformer.even_attention(q, k, v, causal, "xla")

  def gradients(function):
    return jax.grad(lambda *x: jnp.sum(function(*x) ** 2), (0, 1, 2))(q, k, v)

  np.testing.assert_allclose(even(q, k, v), plain(q, k, v), atol=1e-6)
  for found, wanted in zip(gradients(even), gradients(plain), strict=True):
    np.testing.assert_allclose(found, wanted, atol=1e-5)
