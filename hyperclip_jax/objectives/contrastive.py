"""Contrastive terms: cross entropy of matching pairs over the global batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.objectives import rows


def lorentz_logits(
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
  curv: Float[Array, ""],
  logit_scale: Float[Array, ""],
) -> Float[Array, "p b"]:
  """-scale * geodesic distance; with p = K b, x[j] and y[j // K] match.

  The one matmul of the pairwise form cancels where points are close, which is
  where training drives the positives: the diagonal is computed by itself.
  """
  distances = lorentz.pairwise_dist(x, y, curv)
  repeats = len(x) // len(y)
  positives = lorentz.dist(x, jnp.repeat(y, repeats, axis=0), curv)
  matches = jnp.repeat(jnp.eye(len(y), dtype=bool), repeats, axis=0)
  return -logit_scale * jnp.where(matches, positives[:, None], distances)


def cosine_logits(
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
  logit_scale: Float[Array, ""],
) -> Float[Array, "b b"]:
  """scale * cosine of unit vectors."""
  return logit_scale * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def cross_entropy(
  logits: Float[Array, "p b"], where: Bool[Array, " p"] | None = None
) -> Float[Array, ""]:
  """Mean over rows of -log softmax at the match: row j's is j // K, p = K b."""
  columns = logits.shape[1]
  blocks = logits.reshape(columns, -1, columns)
  matches = jnp.diagonal(blocks, axis1=0, axis2=2).T.reshape(-1)
  return rows.mean(jax.nn.logsumexp(logits, axis=1) - matches, where)
