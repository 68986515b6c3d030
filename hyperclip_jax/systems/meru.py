"""MERU (Desai et al., 2023, arXiv 2304.09172)."""

import functools

from jaxtyping import Array, Float

from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.losses.contrastive import Contrast, cross_entropy
from hyperclip_jax.losses.entailment import entailment
from hyperclip_jax.systems.embeddings import Embeddings


def meru(
  embeddings: Embeddings,
  scalars: dict[str, Float[Array, ""]],
  contrast: Contrast = cross_entropy,
  entail_weight: float = 0.2,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Contrast by geodesic distance; images lie in their captions' cones.

  Args:
    embeddings: points on the hyperboloid.
    scalars: {"logit_scale", "curv"}.
    contrast: the cross entropy's implementation.
    entail_weight: weight of the entailment term.

  Returns:
    The loss and its terms.
  """
  image, text = embeddings.image, embeddings.text
  space = Lorentz(scalars["curv"])
  contrast = functools.partial(contrast, space, scalars["logit_scale"])
  contrastive_loss = (contrast(image, text) + contrast(text, image)) / 2
  entailment_loss = entailment(space, text, image, 1.0)
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }
