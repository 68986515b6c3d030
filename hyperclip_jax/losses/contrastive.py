"""Contrastive losses: cross entropy of matching pairs over a global batch."""

import functools
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.losses import rows

# (space, scale, x, y, where=None, counts=None) -> loss, one each direction:
# `cross_entropy` is one, and `tiled.cross_entropy` on a mesh is the other.
Contrast = Callable[..., Float[Array, ""]]
Scales = Scalar | Float[Array, "*directions p"]


@runtime_checkable
class Nearness(Protocol):
  """The part of a `Space` that a contrastive loss needs; a JAX pytree."""

  def pairs(self, x: Array, y: Array) -> Array:
    """Computes the nearness of pairs; see `Space.pairs`."""
    ...

  def pairwise(self, x: Array, y: Array) -> Array:
    """Computes the nearness of all pairs; see `Space.pairwise`."""
    ...


def matches(
  space: Nearness,
  scale: Scales,
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
) -> Float[Array, " p"]:
  """Computes the logits of matching pairs, x[j] and y[j // K] with p = K b.

  The matmul of `Space.pairwise` cancels for close points, and training brings
  these pairs close: they are computed row by row.

  Args:
    space: space of the points.
    scale: factor of nearness, one number or one for each row of x.
    x: points, K for each of `y`.
    y: points.

  Returns:
    Logits of the pairs.

  Examples:
    >>> x = spaces.Sphere().lift(jnp.eye(2))
    >>> matches(spaces.Sphere(), 10.0, x, x)
    Array([10., 10.], dtype=float32)
  """
  return scale * space.pairs(x, jnp.repeat(y, len(x) // len(y), axis=0))


def cross_entropy(
  space: Nearness,
  scale: Scales,
  x: Float[Array, "*directions p dim"],
  y: Float[Array, "*directions b dim"],
  where: Bool[Array, " p"] | None = None,
  counts: Float[Array, " b"] | None = None,
) -> Float[Array, "*directions"]:
  """Computes the cross entropy of a softmax over candidates (CLIP).

  The loss is the mean over rows of x of -log softmax, over all of y, at the
  match. With logits l relative to that of the match, and m = max(0, l) over the
  other candidates, it is m + log(exp(-m) + sum exp(l - m)): never negative, and
  small losses keep their digits. Several matrices of p b logits stay in memory
  until the backward pass.

  Images among texts and texts among images, stacked on a leading axis, compile
  to half the kernels of two calls.

  Args:
    space: space of the points.
    scale: factor of nearness, the inverse temperature; one number, or one for
      each row of x.
    x: points; x[j] matches y[j // K] with p = K b. A leading axis has several
      directions.
    y: candidates, of as many directions.
    where: rows of x to average over; None for all. Other rows may be inf or
      NaN. The mean of no rows is 0.
    counts: how often each candidate stands among the candidates; None for once.
      A candidate that counts 0 times may be inf or NaN, and matches no row in
      `where`. With the match n times among them the loss is at least ln n.

  Returns:
    Loss in nats, a scalar, or one each direction.

  Examples:
    Points that match perfectly have almost no loss; indistinguishable ones have
    that of a guess among them.

    >>> space = spaces.Lorentz(1.0)
    >>> x = space.lift(jnp.eye(4))
    >>> round(float(cross_entropy(space, 100.0, x, x)), 4)
    0.0
    >>> round(float(cross_entropy(space, 100.0, 0 * x, 0 * x)), 4)  # ln 4
    1.3863
  """
  if x.ndim == 3:
    one = functools.partial(cross_entropy, where=where, counts=counts)
    own = 0 if jnp.ndim(scale) else None
    return jax.vmap(one, (None, own, 0, 0))(space, scale, x, y)
  x, y = blank(x, y, where, counts)
  positives = matches(space, scale, x, y)
  is_match = jnp.repeat(jnp.eye(len(y), dtype=bool), len(x) // len(y), axis=0)
  others = by_row(scale) * space.pairwise(x, y)
  logits = jnp.where(is_match, 0, others - positives[:, None])
  if counts is not None:  # what does not count must not be the largest
    logits = jnp.where(counts[None, :] > 0, logits, 0)
  top = jax.lax.stop_gradient(jnp.max(logits, axis=1))
  negatives = jnp.where(is_match, 0, jnp.exp(logits - top[:, None]))
  # log1p of the sum minus 1, since exp(-top) of the match is often nearly 1.
  rest = jnp.expm1(-top)
  if counts is not None:
    negatives = counts[None, :] * negatives
    rest += (match_counts(len(x), where, counts) - 1) * jnp.exp(-top)
  rest += jnp.sum(negatives, axis=1)
  return rows.mean(top + jnp.log1p(rest), where)


def by_row(scale: Scales) -> Float[Array, "..."]:
  """Shapes scales for logits (p, b): a scalar stays one, (p,) is (p, 1)."""
  scale = jnp.asarray(scale)
  return scale[:, None] if scale.ndim else scale


def blank(
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
  where: Bool[Array, " p"] | None,
  counts: Float[Array, " b"] | None,
) -> tuple[Float[Array, "p dim"], Float[Array, "b dim"]]:
  """Replaces rows and candidates that do not count by zeros.

  Args:
    x: points.
    y: candidates.
    where: rows of x that count; None for all.
    counts: how often each candidate counts; None for once.

  Returns:
    The points and the candidates.
  """
  kept = None if counts is None else counts > 0
  return rows.blank(x, where), rows.blank(y, kept)


def match_counts(
  count: int, where: Bool[Array, " p"] | None, counts: Float[Array, " b"]
) -> Float[Array, " p"]:
  """Returns how often the match of each row stands among the candidates.

  Args:
    count: number p of rows.
    where: rows that count; None for all. The others are given 1.
    counts: how often each candidate counts.

  Returns:
    Numbers for the rows, positive.
  """
  found = jnp.repeat(counts, count // len(counts))
  return found if where is None else jnp.where(where, found, 1)
