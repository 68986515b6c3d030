"""Exact gradients of a loss on the whole batch, embedded in micro-batches.

GradCache (Gao et al., 2021, arXiv 2101.06983): only one micro-batch's
activations are in memory at a time, yet every embedding still meets every other
in the loss. Accumulating gradients of a loss on each micro-batch would lose the
negatives between them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Params = TypeVar("Params")


def value_and_grad(
  loss_fn: Callable[[Params, PyTree], tuple[Float[Array, ""], Any]],
  embed: Callable[[Params, PyTree, PRNGKeyArray], PyTree],
  params: Params,
  batch: PyTree,
  key: PRNGKeyArray,
  micro_batches: int,
  examples: int,
) -> tuple[tuple[Float[Array, ""], Any], Params]:
  """Value and gradient of `loss_fn(params, embed(params, batch, key))`.

  Embeds the micro-batches, differentiates the loss with respect to the outputs,
  and embeds each micro-batch again to propagate that to the parameters: one
  more forward pass of the towers.

  Args:
    loss_fn: function of (params, outputs of the batch) that returns (loss,
      auxiliary outputs).
    embed: function of (params, batch, key) that returns outputs row by row: a
      tree of arrays with a whole number of rows for each example. Float leaves
      are differentiated, others are passed through.
    params: parameters to differentiate.
    batch: tree of arrays with a whole number of rows for each example.
    key: random key, split over the micro-batches.
    micro_batches: number of micro-batches, a divisor of the examples on a
      device.
    examples: number of examples of the batch.

  Returns:
    Result of `loss_fn`, and its gradient.
  """

  def embed_part(params, index):
    rows = part(batch, index, micro_batches, examples)
    return embed(params, rows, jax.random.fold_in(key, index))

  indices = jnp.arange(micro_batches)
  parts = jax.lax.map(lambda i: embed_part(params, i), indices)
  floats, others = split(join(parts, examples))

  def loss_of(params, floats):
    return loss_fn(params, merge(floats, others))

  value, (grads, cotangents) = jax.value_and_grad(
    loss_of, argnums=(0, 1), has_aux=True
  )(params, floats)

  def add(grads, index):
    _, vjp = jax.vjp(lambda p: split(embed_part(p, index))[0], params)
    (more,) = vjp(part(cotangents, index, micro_batches, examples))
    return jax.tree.map(jnp.add, grads, more), None

  grads, _ = jax.lax.scan(add, grads, indices)
  return value, grads


def split(outputs: PyTree) -> tuple[PyTree, PyTree]:
  """Splits outputs into float leaves and others, with None for the rest."""

  def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)

  return (
    jax.tree.map(lambda leaf: leaf if is_float(leaf) else None, outputs),
    jax.tree.map(lambda leaf: None if is_float(leaf) else leaf, outputs),
  )


def merge(floats: PyTree, others: PyTree) -> PyTree:
  """Inverts `split`.

  Args:
    floats: tree of float leaves.
    others: tree of the other leaves.

  Returns:
    Tree of all leaves.
  """
  return jax.tree.map(
    lambda a, b: b if a is None else a,
    floats,
    others,
    is_leaf=lambda leaf: leaf is None,
  )


def part(batch: PyTree, index: Any, count: int, examples: int) -> PyTree:
  """Takes every `count`-th example of a batch, starting with the `index`-th.

  The stride keeps each device's rows on it and balances them.

  Args:
    batch: tree of arrays with a whole number of rows for each example.
    index: number less than `count`; may be traced.
    count: number of parts, a divisor of the examples on a device.
    examples: number of examples.

  Returns:
    Tree with `examples / count` examples.
  """

  def take(rows):
    strided = rows.reshape(examples // count, count, -1, *rows.shape[1:])
    taken = jax.lax.dynamic_index_in_dim(strided, index, 1, keepdims=False)
    return taken.reshape(-1, *rows.shape[1:])

  return jax.tree.map(take, batch)


def join(parts: PyTree, examples: int) -> PyTree:
  """Inverts `part`: leaves (count, rows, ...) become (count * rows, ...).

  Args:
    parts: stacked results of `part`.
    examples: number of examples of all parts.

  Returns:
    Tree of all rows, in the original order.
  """

  def merge_rows(rows):
    each = examples // len(rows)
    strided = rows.reshape(len(rows), each, -1, *rows.shape[2:])
    return jnp.swapaxes(strided, 0, 1).reshape(-1, *rows.shape[2:])

  return jax.tree.map(merge_rows, parts)
