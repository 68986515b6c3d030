"""Remat saves memory; neither it nor unrolling changes a gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.nn.transformer import Init, Transformer


def gradient(remat, unroll):
  """Of the tower's parameters, and the bytes of temporaries they take."""
  x = jax.random.normal(jax.random.key(0), (4, 64, 32))
  tower = Transformer(
    depth=12,
    heads=4,
    causal=True,
    initial=Init(*4 * (0.1,)),
    dtype=jnp.float32,
    remat=remat,
    unroll=unroll,
  )
  params = jax.jit(tower.init)(jax.random.key(1), x)

  def loss(params):
    out: Any = tower.apply(params, x)
    return jnp.mean(jnp.square(out[:, -1]))

  compiled = jax.jit(jax.grad(loss)).lower(params).compile()
  memory: Any = compiled.memory_analysis()
  return compiled(params), memory.temp_size_in_bytes


@pytest.fixture(scope="module")
def plain():
  return gradient("none", False)


def assert_close(found, wanted):
  scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(wanted))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * scale),
    found,
    wanted,
  )


def test_remat_keeps_gradients_and_saves_memory(plain):
  wanted, none = plain
  dots, dots_size = gradient("dots", False)
  full, full_size = gradient("full", False)
  assert_close(dots, wanted)
  assert_close(full, wanted)
  assert full_size < 0.5 * dots_size < 0.25 * none


def test_unrolling_keeps_gradients(plain):
  wanted, _ = plain
  found, _ = gradient("none", True)
  assert_close(found, wanted)
