"""The sigmoid loss of pairs over a global batch (SigLIP, Zhai et al., 2023)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import ring, tiled

# (space, scale, bias, x, y) -> loss.
Pairs = Callable[..., Float[Array, ""]]


def pairs(
  space: Space,
  scale: Scalar,
  bias: Scalar,
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
) -> Float[Array, ""]:
  """Computes the binary cross entropy of all pairs, as a sum a row.

  The logit of a pair is its scaled nearness and the bias; pairs of one row
  match, all others do not. In the space of Gaussians this is ProLIP's PPCL; as
  its variances go to 0, it becomes SigLIP's loss. Several matrices of b^2
  logits stay in memory until the backward pass.

  Args:
    space: space of the points.
    scale: factor of nearness.
    bias: what is added to every logit.
    x: points; x[i] matches y[i] alone.
    y: points.

  Returns:
    Loss in nats: the sum over all pairs, divided by b (not by b^2).

  Examples:
    >>> space = spaces.Sphere()
    >>> x = space.lift(jnp.eye(4))
    >>> bool(pairs(space, 100.0, -50.0, x, x) < 1e-6)
    True
  """
  logits = _logits(space, scale, bias, x, y)
  matching = _matching(space, scale, bias, x, y)
  same = jnp.eye(len(x), dtype=bool)
  others = jnp.where(same, 0, jax.nn.softplus(logits)).sum(axis=1)
  return jnp.mean(others + jax.nn.softplus(-matching))


def tiled_pairs(
  mesh: Mesh,
  space: Space,
  scale: Scalar,
  bias: Scalar,
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
) -> Float[Array, ""]:
  """Computes `pairs` in memory linear in the batch; differentiable once.

  Columns travel round the devices, as in `tiled.cross_entropy`.

  Args:
    mesh: devices; the axis "data" splits the rows of x and y.
    space: space of the points.
    scale: factor of nearness.
    bias: what is added to every logit.
    x: points; x[i] matches y[i] alone.
    y: points.

  Returns:
    Loss in nats.
  """
  bias = jnp.asarray(bias, x.dtype)
  return jnp.mean(_losses(mesh, space, scale, bias, x, y))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _losses(mesh, space, scale, bias, x, y):
  """Each row's sum over all columns, (b,)."""
  return _forward(mesh, space, scale, bias, x, y)[0]


def _forward(mesh, space, scale, bias, x, y):
  specs = (*3 * (ring.ALL,), ring.ROWS, ring.ROWS)

  @ring.on_each_device(mesh, specs, ring.ROWS)
  def stream(space, scale, bias, x, y):
    losses = jax.nn.softplus(-_matching(space, scale, bias, x, y))
    matches, columns = ring.columns_of(y, len(x))

    def add(losses, tile):
      found = jax.nn.softplus(_logits(space, scale, bias, x, tile.y))
      found = jnp.where(ring.negative(matches, tile), found, 0)
      return losses + found.sum(axis=1), None

    columns = ring.tiles(columns, len(x))
    return ring.over_all_columns(add, losses, columns, mesh)[0]

  losses = stream(space, scale, bias, x, y)
  return losses, (space, scale, bias, x, y)


def _backward(mesh, saved, grad):
  specs = (*3 * (ring.ALL,), ring.ROWS, ring.ROWS)

  @ring.on_each_device(mesh, (*specs, ring.ROWS), specs)
  def stream(space, scale, bias, x, y, grad):
    logits, vjp = jax.vjp(_matching, space, scale, bias, x, y)
    *begin, dy = vjp(-grad * jax.nn.sigmoid(-logits))
    matches, columns = ring.columns_of(y, len(x))

    def add(carry, tile):
      logits, vjp = jax.vjp(_logits, space, scale, bias, x, tile.y)
      weights = jax.nn.sigmoid(logits) * grad[:, None]
      weights = jnp.where(ring.negative(matches, tile), weights, 0)
      *more, dy = vjp(weights)
      carry = jax.tree.map(jnp.add, carry, tuple(more))
      return carry, tile.dy + dy

    columns = ring.tiles(columns._replace(dy=dy), len(x))
    (*dscalars, dx), columns = ring.over_all_columns(
      add, tuple(begin), columns, mesh
    )
    dy = columns.dy.reshape(-1, dy.shape[1])[: len(dy)]
    return *jax.lax.psum(dscalars, ring.AXIS), dx, dy

  return stream(*saved, grad)


_losses.defvjp(_forward, _backward)


def _matching(space, scale, bias, x, y):
  return scale * space.pairs(x, y) + bias


def _logits(space, scale, bias, x, y):
  return scale * space.pairwise(x, y) + bias


def on(mesh: Mesh, how: str = "auto") -> Pairs:
  """Chooses the sigmoid loss for the devices of a mesh.

  Args:
    mesh: devices; the axis "data" splits the rows.
    how: "naive", "tiled", or "auto", which goes by the logits on a device as
      `tiled.on` does.

  Returns:
    Function with the arguments of `pairs`.
  """

  def chosen(space, scale, bias, x, y):
    many = len(y) ** 2 // mesh.shape[ring.AXIS] >= tiled.TILED_FROM
    if how == "tiled" or (how == "auto" and many):
      return tiled_pairs(mesh, space, scale, bias, x, y)
    return pairs(space, scale, bias, x, y)

  return chosen
