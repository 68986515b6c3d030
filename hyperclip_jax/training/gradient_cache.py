"""Exact gradients of a loss on the whole batch, embedded in micro-batches.

GradCache (Gao et al., 2021, arXiv 2101.06983): the towers' activations of one
micro-batch at a time are in memory, and every embedding still meets every
other in the loss. Accumulating gradients of micro-batches' own losses would
lose the negatives between them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from hyperclip_jax.systems.objectives import Embeddings

Params = TypeVar("Params")


def value_and_grad(
  loss_fn: Callable[[Params, Embeddings], tuple[Float[Array, ""], Any]],
  embed: Callable[[Params, Any], Embeddings],
  params: Params,
  batch: PyTree,
  micro_batches: int,
) -> tuple[tuple[Float[Array, ""], Any], Params]:
  """Value and gradient of `loss_fn(params, embed(params, batch))`.

  Embeds the micro-batches, differentiates the loss by the embeddings, then
  embeds each micro-batch again to take that back to the parameters: one more
  forward pass of the towers.

  Args:
    loss_fn: (params, embeddings of the batch) -> (loss, anything beside it).
    embed: (params, batch) -> embeddings, row by row.
    params: differentiated.
    batch: as of `part`.
    micro_batches: how many; a divisor of the examples.

  Returns:
    What `loss_fn` returns, and the gradient.
  """

  def embed_part(params, index):
    return embed(params, part(batch, index, micro_batches))

  indices = jnp.arange(micro_batches)
  embeddings = join(jax.lax.map(lambda i: embed_part(params, i), indices))

  def loss_of(params, points):
    masks = {"distinct": embeddings.distinct, "valid": embeddings.valid}
    return loss_fn(params, points._replace(**masks))

  value, (grads, cotangents) = jax.value_and_grad(
    loss_of, argnums=(0, 1), has_aux=True
  )(params, _points(embeddings))

  def add(grads, index):
    _, vjp = jax.vjp(lambda params: _points(embed_part(params, index)), params)
    (more,) = vjp(part(cotangents, index, micro_batches))
    return jax.tree.map(jnp.add, grads, more), None

  grads, _ = jax.lax.scan(add, grads, indices)
  return value, grads


def part(batch: PyTree, index: Any, count: int) -> PyTree:
  """Every `count`-th example of a batch, from the `index`-th on.

  A stride, so that each device's rows stay on it and are shared out evenly.

  Args:
    batch: leaves have a row an example, or K where an example has K boxes.
    index: less than `count`; may be traced.
    count: of parts; a divisor of the examples on a device.
  """
  examples = min(len(leaf) for leaf in jax.tree.leaves(batch))

  def take(rows):
    strided = rows.reshape(examples // count, count, -1, *rows.shape[1:])
    taken = jax.lax.dynamic_index_in_dim(strided, index, 1, keepdims=False)
    return taken.reshape(-1, *rows.shape[1:])

  return jax.tree.map(take, batch)


def join(parts: PyTree) -> PyTree:
  """Undoes `part`: leaves (count, rows, ...) -> (count * rows, ...)."""
  examples = min(leaf.shape[1] for leaf in jax.tree.leaves(parts))

  def merge(rows):
    strided = rows.reshape(len(rows), examples, -1, *rows.shape[2:])
    return jnp.swapaxes(strided, 0, 1).reshape(-1, *rows.shape[2:])

  return jax.tree.map(merge, parts)


def _points(embeddings: Embeddings) -> Embeddings:
  """What can be differentiated."""
  return embeddings._replace(distinct=None, valid=None)
