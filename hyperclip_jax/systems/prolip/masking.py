"""Random masks of images and texts, which are then more general."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


def masked_tokens(
  key: PRNGKeyArray,
  tokens: Int[Array, "n l"],
  probability: float,
  mask_id: int,
  pad_id: int,
) -> Int[Array, "n l"]:
  """Replaces each token but padding, with a probability.

  Args:
    key: source of the draws, one for each token.
    tokens: token ids.
    probability: of each token.
    mask_id: what masked tokens become.
    pad_id: tokens that stay.

  Returns:
    Token ids.
  """
  drawn = jax.random.bernoulli(key, probability, tokens.shape)
  return jnp.where(drawn & (tokens != pad_id), mask_id, tokens)


def kept_patches(
  key: PRNGKeyArray, patches: int, ratio: float
) -> Int[Array, " k"]:
  """Draws the patches to keep, the same for all images of a batch.

  Args:
    key: source of the draw.
    patches: number of patches of an image.
    ratio: share to keep, rounded down; one patch at least.

  Returns:
    Numbers of the patches, ascending.
  """
  count = max(1, int(ratio * patches))
  return jnp.sort(jax.random.permutation(key, patches)[:count])


def rows(examples: int, share: float) -> int:
  """Number of examples to mask: a share, rounded down, but one at least."""
  return max(1, int(examples * share)) if share else 0
