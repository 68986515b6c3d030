"""Contrastive terms: cross entropy of matching pairs over the global batch."""

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
  """Logits of x[j] and y[j // K], p = K b.

  The one matmul of `Space.logits` cancels where points are close, which is
  where training drives these pairs: they are computed by themselves.

  Args:
    space: where the points live.
    scale: multiplies nearness.
    x: points.
    y: points, b of them.

  Returns:
    Logits.
  """
  return scale * space.pairs(x, jnp.repeat(y, len(x) // len(y), axis=0))


def cross_entropy(
  space: Space,
  scale: Scalar,
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
  where: Bool[Array, " p"] | None = None,
) -> Float[Array, ""]:
  """Mean over rows of x of -log softmax, over all of y, at the match.

  Relative to the logit of its match a row's logits l give, with m = max(0, l)
  over the others, m + log(exp(-m) + sum exp(l - m)): never negative, and small
  losses keep their digits. Keeps several matrices of p b logits until the
  backward pass.

  Args:
    space: where the points live.
    scale: multiplies nearness; e to the trained log scale.
    x: rows; x[j] matches y[j // K], p = K b.
    y: candidates.
    where: rows to average over; all by default. No row gives zero. The others
      may hold anything, inf and NaN too.

  Returns:
    The loss.
  """
  x = rows.blank(x, where)
  positives = matches(space, scale, x, y)
  is_match = jnp.repeat(jnp.eye(len(y), dtype=bool), len(x) // len(y), axis=0)
  others = space.logits(x, y, scale)
  logits = jnp.where(is_match, 0, others - positives[:, None])
  top = jax.lax.stop_gradient(jnp.max(logits, axis=1))
  negatives = jnp.where(is_match, 0, jnp.exp(logits - top[:, None]))
  # log1p of the sum less 1, as the match's own exp(-top) is often all but 1.
  rest = jnp.expm1(-top) + jnp.sum(negatives, axis=1)
  return rows.mean(top + jnp.log1p(rest), where)
