"""Contrastive terms: cross entropy of matching pairs over the global batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry import lorentz


def lorentz_logits(
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
  curv: Float[Array, ""],
  logit_scale: Float[Array, ""],
) -> Float[Array, "b b"]:
  """-scale * geodesic distance; x[i] and y[i] are the positive pairs.

  The one matmul of the pairwise form cancels where points are close, which is
  where training drives the positives: the diagonal is computed by itself.
  """
  distances = lorentz.pairwise_dist(x, y, curv)
  positives = lorentz.dist(x, y, curv)
  diagonal = jnp.eye(len(x), dtype=bool)
  return -logit_scale * jnp.where(diagonal, positives[:, None], distances)


def cosine_logits(
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
  logit_scale: Float[Array, ""],
) -> Float[Array, "b b"]:
  """scale * cosine of unit vectors."""
  return logit_scale * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def cross_entropy(logits: Float[Array, "b b"]) -> Float[Array, ""]:
  """Mean over rows of -log softmax at the diagonal."""
  return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits))
