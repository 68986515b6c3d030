"""Computing blocks again saves memory and changes no gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hyperclip_jax.models.transformer import REMAT, InitStd, Transformer


def test_remat_keeps_gradients_and_saves_memory():
  x = jax.random.normal(jax.random.key(0), (4, 64, 32))

  def tower(remat):
    return Transformer(
      depth=12,
      heads=4,
      causal=True,
      init_std=InitStd(*4 * (0.1,)),
      dtype=jnp.float32,
      remat=remat,
    )

  params = jax.jit(tower("none").init)(jax.random.key(1), x)

  def gradient(remat):
    def loss(params):
      out: Any = tower(remat).apply(params, x)
      return jnp.mean(jnp.square(out[:, -1]))

    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    memory: Any = compiled.memory_analysis()
    return compiled(params), memory.temp_size_in_bytes

  found = {remat: gradient(remat) for remat in REMAT}
  none, dots, full = (found[remat][1] for remat in ("none", "dots", "full"))
  assert full < 0.5 * dots < 0.25 * none
  wanted, _ = found["none"]
  scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(wanted))
  for remat in ("dots", "full"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        a, b, rtol=1e-6, atol=1e-6 * scale
      ),
      found[remat][0],
      wanted,
    )
