"""AdamW with a linear warmup and a cosine decay, as MERU and HyCoCLIP train.

The scalar parameters (temperature, curvature, lift scales) never decay.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from hyperclip_jax.systems.dual_encoder import SCALAR_BOUNDS

# Leaf names of two-dimensional parameters (three with the scanned depth).
MATRICES = ("kernel", "embedding", "position_embed")


def schedule(peak: float, warmup: int, steps: int) -> optax.Schedule:
  """Linear from 0 to `peak` over `warmup` steps, then cosine to 0 at `steps`.

  The decay is cos(pi / 2 * t)^2 for t from 0 to 1, which is optax's
  (1 + cos(pi * t)) / 2.
  """

  def learning_rate(count):
    count = jnp.asarray(count, jnp.float32)
    decay = jnp.clip((count - warmup) / max(steps - warmup, 1), 0.0, 1.0)
    cosine = peak * jnp.cos(jnp.pi / 2 * decay) ** 2
    return jnp.where(count < warmup, peak * count / max(warmup, 1), cosine)

  return learning_rate


def decay_mask(params: Any, norm_and_bias: bool = False) -> Any:
  """True where weight decay applies: matrices, or all but the scalars.

  Args:
    params: the parameter tree.
    norm_and_bias: decay LayerNorm, biases and the CLS token too, as the
      official code does, for parity with its runs.
  """

  def decays(path, _):
    name = path[-1].key
    if norm_and_bias:
      return name not in SCALAR_BOUNDS
    return name in MATRICES

  return jax.tree_util.tree_map_with_path(decays, params)


def adamw(
  learning_rate: optax.Schedule,
  b1: float,
  b2: float,
  eps: float,
  weight_decay: float,
  decay_norm_and_bias: bool,
) -> optax.GradientTransformation:
  """optax.adamw with `decay_mask`; hyperparameters as in Loshchilov 2019."""
  return optax.adamw(
    learning_rate,
    b1=b1,
    b2=b2,
    eps=eps,
    weight_decay=weight_decay,
    mask=lambda params: decay_mask(params, decay_norm_and_bias),
  )
