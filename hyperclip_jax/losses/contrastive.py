"""Contrastive terms: cross entropy of matching pairs over the global batch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.numerics import dot
from hyperclip_jax.losses import rows

Scalars = dict[str, Float[Array, ""]]

# (similarity, scalars, x, y, where=None) -> loss: `cross_entropy` is one, and
# `tiled.cross_entropy` on a mesh is the other.
Contrast = Callable[..., Float[Array, ""]]


class Similarity(NamedTuple):
  """Logits of points; both functions take (x, y, scalars).

  Attributes:
    pairwise: of all pairs, (n, dim) and (m, dim) -> (n, m), by one matmul.
    pairs: of row i with row i, (n, dim) twice -> (n,), as accurate as can be.
  """

  pairwise: Callable[..., Float[Array, "n m"]]
  pairs: Callable[..., Float[Array, " n"]]

  def matches(
    self,
    x: Float[Array, "p dim"],
    y: Float[Array, "b dim"],
    scalars: Scalars,
  ) -> Float[Array, " p"]:
    """Logits of x[j] and y[j // K], p = K b.

    The one matmul of the pairwise form cancels where points are close, which
    is where training drives these pairs: they are computed by themselves.
    """
    return self.pairs(x, jnp.repeat(y, len(x) // len(y), axis=0), scalars)


def _lorentz_pairwise(x, y, scalars):
  distances = lorentz.pairwise_dist(x, y, scalars["curv"])
  return -scalars["logit_scale"] * distances


def _lorentz_pairs(x, y, scalars):
  return -scalars["logit_scale"] * lorentz.dist(x, y, scalars["curv"])


def _cosine_pairwise(x, y, scalars):
  cosines = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
  return scalars["logit_scale"] * cosines


def _cosine_pairs(x, y, scalars):
  return scalars["logit_scale"] * dot(x, y)


# -scale * geodesic distance, and scale * cosine of unit vectors.
LORENTZ = Similarity(_lorentz_pairwise, _lorentz_pairs)
COSINE = Similarity(_cosine_pairwise, _cosine_pairs)


def cross_entropy(
  similarity: Similarity,
  scalars: Scalars,
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
    similarity: of points x and y.
    scalars: what it needs, of {"logit_scale", "curv"}.
    x: rows; x[j] matches y[j // K], p = K b.
    y: candidates.
    where: rows to average over; all by default. No row gives zero. The others
      may hold anything, inf and NaN too.

  Returns:
    The loss.
  """
  x = rows.blank(x, where)
  positives = similarity.matches(x, y, scalars)
  is_match = jnp.repeat(jnp.eye(len(y), dtype=bool), len(x) // len(y), axis=0)
  others = similarity.pairwise(x, y, scalars)
  logits = jnp.where(is_match, 0, others - positives[:, None])
  top = jax.lax.stop_gradient(jnp.max(logits, axis=1))
  negatives = jnp.where(is_match, 0, jnp.exp(logits - top[:, None]))
  # log1p of the sum less 1, as the match's own exp(-top) is often all but 1.
  rest = jnp.expm1(-top) + jnp.sum(negatives, axis=1)
  return rows.mean(top + jnp.log1p(rest), where)
