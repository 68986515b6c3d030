"""The cross entropy of `contrastive` in memory that is linear in the batch.

Rows stay on their device; columns travel round the devices, and a device sees
a tile of them at a time. Forward streams each row's log-sum-exp; backward
computes each tile again, and the gradient of a column travels with it. Left to
itself, autodiff would keep every tile of the forward pass.

  Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.
  Liu et al., Ring Attention with Blockwise Transformers, 2023.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from hyperclip_jax.losses import contrastive, ring, rows
from hyperclip_jax.losses.contrastive import Nearness, Scales

# Logits a device from which `on` chooses tiles: those of a batch of 4,096 on
# one. With gradients, HyCoCLIP's needs 2.8 GB of temporaries in the naive form
# and 0.4 in tiles there, and 0.8 and 0.7 at half the batch (XLA's count). A
# batch that many devices share stays naive for longer: embeddings are gathered
# at once, while tiles take as many turns round as there are devices.
TILED_FROM = 4096**2


def cross_entropy(
  mesh: Mesh,
  space: Nearness,
  scale: Scales,
  x: Float[Array, "*directions p dim"],
  y: Float[Array, "*directions b dim"],
  where: Bool[Array, " p"] | None = None,
  counts: Float[Array, " b"] | None = None,
) -> Float[Array, "*directions"]:
  """Computes `contrastive.cross_entropy` in tiles; differentiable once.

  Args:
    mesh: devices; the axis "data" splits the rows of x and y.
    space: space of the points.
    scale: factor of nearness, one number or one for each row of x.
    x: points; x[j] matches y[j // K] with p = K b. A leading axis has several
      directions, which are computed one after another.
    y: candidates, of as many directions.
    where: rows to average over; None for all.
    counts: how often each candidate counts, without gradient; None for once.

  Returns:
    Loss in nats, a scalar, or one each direction.
  """
  if x.ndim == 3:
    scales = jnp.asarray(scale)
    if not scales.ndim:
      scales = jnp.broadcast_to(scales, len(x))
    each = [
      cross_entropy(mesh, space, scales[i], x[i], y[i], where, counts)
      for i in range(len(x))
    ]
    return jnp.stack(each)
  x, y = contrastive.blank(x, y, where, counts)
  weights = None
  if counts is not None:
    matched = contrastive.match_counts(len(x), where, counts)
    weights = jnp.log(matched), jnp.log(counts)
  return rows.mean(_losses(mesh, space, scale, x, y, weights), where)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _losses(mesh, space, scale, x, y, weights):
  """Each row's cross entropy, (p,); weights are logs of counts, or None."""
  return _forward(mesh, space, scale, x, y, weights)[0]


def _forward(mesh, space, scale, x, y, weights):
  @ring.on_each_device(mesh, _specs(scale), ring.ROWS)
  def stream(space, scale, x, y, weights):
    positives = _matches(space, scale, x, y)
    of_match, of_columns = weights or (0.0, None)
    matches, columns = ring.columns_of(y, len(x), of_columns)

    # Logits are relative to that of the match, which is 0 and waits for the
    # end: no digits are lost to large logits, nor those of small losses to 1.
    def add(carry, tile):
      top, total = carry
      logits = _logits(space, scale, x, tile) - positives[:, None]
      logits = jnp.where(ring.negative(matches, tile), logits, -jnp.inf)
      new_top = jnp.maximum(top, jnp.max(logits, axis=1))
      tile_total = jnp.sum(jnp.exp(logits - new_top[:, None]), axis=1)
      return (new_top, total * jnp.exp(top - new_top) + tile_total), None

    begin = jnp.zeros_like(positives), jnp.zeros_like(positives)
    columns = ring.tiles(columns, len(x))
    (top, total), _ = ring.over_all_columns(add, begin, columns, mesh)
    return of_match + jax.nn.softplus(top + jnp.log(total) - of_match)

  losses = stream(space, scale, x, y, weights)
  return losses, (space, scale, x, y, weights, losses)


def _backward(mesh, saved, grad):
  scale = saved[1]
  specs = _specs(scale)

  @ring.on_each_device(mesh, (*specs, ring.ROWS, ring.ROWS), specs[:-1])
  def stream(space, scale, x, y, weights, losses, grad):
    of_match, of_columns = weights or (0.0, None)
    positives, vjp = jax.vjp(_matches, space, scale, x, y)
    # The softmax at a match is exp(-loss), times its count.
    dspace, dscale, dx, dy = vjp(grad * jnp.expm1(of_match - losses))
    matches, columns = ring.columns_of(y, len(x), of_columns)

    def add(carry, tile):
      def logits_of(space, scale, x, y):
        return _logits(space, scale, x, tile._replace(y=y))

      logits, vjp = jax.vjp(logits_of, space, scale, x, tile.y)
      softmax = jnp.exp(logits - positives[:, None] - losses[:, None])
      weights = jnp.where(
        ring.negative(matches, tile), softmax * grad[:, None], 0
      )
      dspace, dscale, dx, dy = vjp(weights)
      carry = jax.tree.map(jnp.add, carry, (dspace, dscale, dx))
      return carry, tile.dy + dy

    begin = dspace, dscale, dx
    columns = ring.tiles(columns._replace(dy=dy), len(x))
    (dspace, dscale, dx), columns = ring.over_all_columns(
      add, begin, columns, mesh
    )
    dy = columns.dy.reshape(-1, dy.shape[1])[: len(dy)]
    dspace = jax.lax.psum(dspace, ring.AXIS)
    if not jnp.ndim(scale):
      dscale = jax.lax.psum(dscale, ring.AXIS)
    return dspace, dscale, dx, dy

  *_, weights, _ = saved
  return *stream(*saved, grad), jax.tree.map(jnp.zeros_like, weights)


_losses.defvjp(_forward, _backward)


def _matches(space, scale, x, y):
  """`contrastive.matches`, some rows at a time: it has several copies of them.

  Left to itself, XLA would make those of all terms of a loss at once.
  """
  pieces = math.gcd(len(y), 2 ** int(math.log2(max(1, x.size // ring.TILE))))
  if pieces == 1:
    return contrastive.matches(space, scale, x, y)

  def split(v):
    return v.reshape(pieces, -1, *v.shape[1:])

  scales = jnp.broadcast_to(jnp.asarray(scale, x.dtype), len(x))
  piece = jax.checkpoint(lambda some: contrastive.matches(space, *some))
  found = jax.lax.map(piece, (split(scales), split(x), split(y)))
  return found.reshape(-1)


def _specs(scale):
  """Which arguments of `_losses` are split: space, scale, x, y, weights."""
  return (
    ring.ALL,
    ring.ROWS if jnp.ndim(scale) else ring.ALL,
    ring.ROWS,
    ring.ROWS,
    ring.ROWS,
  )


def _logits(space, scale, x, tile):
  """Logits of a tile, with the logs of its columns' counts."""
  logits = contrastive.by_row(scale) * space.pairwise(x, tile.y)
  return logits if tile.weight is None else logits + tile.weight[None, :]


def on(mesh: Mesh, how: str = "auto") -> contrastive.Contrast:
  """Chooses the cross entropy for the devices of a mesh.

  Args:
    mesh: devices; the axis "data" splits the rows.
    how: "naive", "tiled", or "auto", which uses tiles from `TILED_FROM` logits
      on a device.

  Returns:
    Function with the arguments of `contrastive.cross_entropy`.
  """
  tiled = functools.partial(cross_entropy, mesh)
  if how != "auto":
    return tiled if how == "tiled" else contrastive.cross_entropy

  def chosen(space, scale, x, y, where=None, counts=None):
    many = y.shape[-2] ** 2 // mesh.shape[ring.AXIS] >= TILED_FROM
    contrast = tiled if many else contrastive.cross_entropy
    return contrast(space, scale, x, y, where, counts)

  return chosen
