"""CLIP (Radford et al., 2021, arXiv 2103.00020)."""

import functools

from jaxtyping import Array, Float

from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.losses.contrastive import Contrast, cross_entropy
from hyperclip_jax.systems.embeddings import Embeddings


def clip(
  embeddings: Embeddings,
  scalars: dict[str, Float[Array, ""]],
  contrast: Contrast = cross_entropy,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Both directions' cross entropy of scaled cosines.

  Args:
    embeddings: unit vectors.
    scalars: {"logit_scale"}.
    contrast: the cross entropy's implementation.

  Returns:
    The loss and its terms.
  """
  image, text = embeddings.image, embeddings.text
  contrast = functools.partial(contrast, Sphere(), scalars["logit_scale"])
  loss = (contrast(image, text) + contrast(text, image)) / 2
  return loss, {"contrastive_loss": loss}
