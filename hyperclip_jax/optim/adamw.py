"""AdamW with a linear warmup and a cosine decay, as MERU and HyCoCLIP train."""

from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree


def schedule(peak: float, warmup: int, steps: int) -> optax.Schedule:
  """Makes a linear warmup from 0 to `peak`, then a cosine decay to 0.

  The decay is cos(pi / 2 * t)^2 for t from 0 to 1, which equals optax's
  (1 + cos(pi * t)) / 2 (MERU, Desai et al., 2023; HyCoCLIP, Pal et al., 2025).

  Args:
    peak: largest learning rate.
    warmup: number of warmup steps.
    steps: step at which the learning rate reaches 0.

  Returns:
    Schedule: step -> learning rate, float32.

  Examples:
    >>> rate = schedule(1.0, warmup=10, steps=110)
    >>> [round(float(rate(step)), 3) for step in (0, 5, 10, 60, 110)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
  """

  def learning_rate(count):
    count = jnp.asarray(count, jnp.float32)
    decay = jnp.clip((count - warmup) / max(steps - warmup, 1), 0.0, 1.0)
    cosine = peak * jnp.cos(jnp.pi / 2 * decay) ** 2
    return jnp.where(count < warmup, peak * count / max(warmup, 1), cosine)

  return learning_rate


def schedule_between(
  peak: float, warmup: int, steps: int, start: float, end: float
) -> optax.Schedule:
  """Makes a linear warmup from `start` to `peak`, then a cosine towards `end`.

  The last step of the warmup and the first of the cosine have the peak, and
  `end` would follow the last step (Mu et al., SLIP, 2022; Fini et al., 2023).

  Args:
    peak: largest learning rate.
    warmup: number of warmup steps.
    steps: number of steps.
    start: learning rate of the first step, if there is a warmup.
    end: learning rate after the last step.

  Returns:
    Schedule: step -> learning rate, float32.

  Examples:
    >>> rate = schedule_between(1.0, warmup=3, steps=7, start=0.2, end=0.0)
    >>> [round(float(rate(step)), 2) for step in range(7)]
    [0.2, 0.6, 1.0, 1.0, 0.85, 0.5, 0.15]
  """

  def learning_rate(count):
    count = jnp.asarray(count, jnp.float32)
    ramp = start + (peak - start) * count / max(warmup - 1, 1)
    decay = jnp.clip((count - warmup) / max(steps - warmup, 1), 0.0, 1.0)
    cosine = end + (peak - end) * jnp.cos(jnp.pi / 2 * decay) ** 2
    return jnp.where(count < warmup, ramp, cosine)

  return learning_rate


def decay_mask(
  params: PyTree,
  matrices: Collection[str],
  scalars: Collection[str],
  norm_and_bias: bool = False,
) -> PyTree:
  """Marks where weight decay applies: matrices, or all but the scalars.

  Args:
    params: parameter tree.
    matrices: names of the leaves that are matrices.
    scalars: names of the leaves that never decay.
    norm_and_bias: whether norms, biases and the CLS token decay too, as in the
      official code, for parity with its runs.

  Returns:
    Tree of booleans.

  Examples:
    >>> params = {"dense": {"kernel": 0, "bias": 0}, "curv": 0}
    >>> decay_mask(params, matrices=["kernel"], scalars=["curv"])
    {'curv': False, 'dense': {'bias': False, 'kernel': True}}
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
  """Makes AdamW (Loshchilov and Hutter, 2019) with a mask for its decay.

  Args:
    learning_rate: step -> learning rate.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: term added to the square root of the second moment.
    weight_decay: decoupled weight decay.
    mask: params -> tree of booleans that marks where weight decay applies.

  Returns:
    Gradient transformation, to be used with `optax.apply_updates`.

  Examples:
    >>> optimizer = adamw(
    ...   lambda step: 0.1, b1=0.9, b2=0.98, eps=1e-8, weight_decay=0.0,
    ...   mask=lambda params: jax.tree.map(lambda _: True, params),
    ... )
    >>> params = {"kernel": jnp.array([1.0])}
    >>> grads = {"kernel": jnp.array([3.0])}
    >>> updates, _ = optimizer.update(grads, optimizer.init(params), params)
    >>> round(float(updates["kernel"][0]), 4)  # one step of the learning rate
    -0.1
  """
  return optax.adamw(
    learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask
  )
