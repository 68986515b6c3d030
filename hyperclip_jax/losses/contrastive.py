"""Contrastive losses: cross entropy of matching pairs over a global batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import rows

# (space, scale, x, y, where=None) -> loss: `cross_entropy` is one, and
# `tiled.cross_entropy` on a mesh is the other.
Contrast = Callable[..., Float[Array, ""]]


def matches(
  space: Space,
  scale: Scalar,
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
) -> Float[Array, " p"]:
  """Computes the logits of matching pairs, x[j] and y[j // K] with p = K b.

  The matmul of `Space.logits` cancels for close points, and training brings
  these pairs close: they are computed row by row.

  Args:
    space: space of the points.
    scale: factor of nearness, the inverse temperature.
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
  space: Space,
  scale: Scalar,
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
  where: Bool[Array, " p"] | None = None,
) -> Float[Array, ""]:
  """Computes the cross entropy of a softmax over candidates (CLIP).

  The loss is the mean over rows of x of -log softmax, over all of y, at the
  match. With logits l relative to that of the match, and m = max(0, l) over the
  other candidates, it is m + log(exp(-m) + sum exp(l - m)): never negative, and
  small losses keep their digits. Several matrices of p b logits stay in memory
  until the backward pass.

  Args:
    space: space of the points.
    scale: factor of nearness, the inverse temperature.
    x: points; x[j] matches y[j // K] with p = K b.
    y: candidates.
    where: rows of x to average over; None for all. Other rows may be inf or
      NaN. The mean of no rows is 0.

  Returns:
    Loss in nats, a scalar.

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
  x = rows.blank(x, where)
  positives = matches(space, scale, x, y)
  is_match = jnp.repeat(jnp.eye(len(y), dtype=bool), len(x) // len(y), axis=0)
  others = space.logits(x, y, scale)
  logits = jnp.where(is_match, 0, others - positives[:, None])
  top = jax.lax.stop_gradient(jnp.max(logits, axis=1))
  negatives = jnp.where(is_match, 0, jnp.exp(logits - top[:, None]))
  # log1p of the sum minus 1, since exp(-top) of the match is often nearly 1.
  rest = jnp.expm1(-top) + jnp.sum(negatives, axis=1)
  return rows.mean(top + jnp.log1p(rest), where)
