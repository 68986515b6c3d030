"""AdamW with a linear warmup and a cosine decay, as MERU and HyCoCLIP train."""

from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree


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


def decay_mask(
  params: PyTree,
  matrices: Collection[str],
  scalars: Collection[str],
  norm_and_bias: bool = False,
) -> PyTree:
  """Says where weight decay applies: matrices, or all but the scalars.

  Args:
    params: parameter tree.
    matrices: names of the leaves that are matrices.
    scalars: names of the leaves that never decay.
    norm_and_bias: whether norms, biases and the CLS token decay too, as in the
      official code, for parity with its runs.

  Returns:
    A tree of booleans.
  """

  def decays(path, _):
    name = path[-1].key
    return name not in scalars if norm_and_bias else name in matrices

  return jax.tree_util.tree_map_with_path(decays, params)


def adamw(
  learning_rate: optax.Schedule,
  b1: float,
  b2: float,
  eps: float,
  weight_decay: float,
  mask: Callable[[PyTree], PyTree],
) -> optax.GradientTransformation:
  """AdamW (Loshchilov and Hutter, 2019) whose decay a mask limits.

  Args:
    learning_rate: step -> learning rate.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
    weight_decay: decoupled weight decay.
    mask: params -> tree of booleans: where weight decay applies.
  """
  return optax.adamw(
    learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask
  )
