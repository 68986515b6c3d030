"""HyCoCLIP: compositional entailment (Pal et al., 2025, arXiv 2410.06912)."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.losses import rows
from hyperclip_jax.losses.contrastive import Contrast, cross_entropy
from hyperclip_jax.losses.entailment import entailment
from hyperclip_jax.systems.embeddings import Embeddings


def hycoclip(
  embeddings: Embeddings,
  scalars: dict[str, Float[Array, ""]],
  contrast: Contrast = cross_entropy,
  entail_weight: float = 0.2,
  inter_aperture_scale: float = 0.7,
  intra_aperture_scale: float = 1.2,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Contrast and entailment of wholes and of their boxes.

  Text lies above image and a box above its whole, so cones open from texts
  to images (inter-modal) and from boxes to wholes (intra-modal).

  Args:
    embeddings: points on the hyperboloid, boxes included: one an example in
      the paper, K here.
    scalars: {"logit_scale", "curv"}.
    contrast: the cross entropy's implementation.
    entail_weight: weight of the mean of the inter- and intra-modal sums.
    inter_aperture_scale: eta of pairs of two modalities.
    intra_aperture_scale: eta of pairs of one modality.

  Returns:
    The loss (equation 8) and its terms.
  """
  image, text, box_image, box_text, distinct, valid = embeddings
  if box_image is None or box_text is None:
    raise ValueError("hycoclip needs embeddings of box images and box texts")
  owner_image, owner_text = (
    jnp.repeat(whole, len(box_image) // len(image), axis=0)
    for whole in (image, text)
  )
  space = Lorentz(scalars["curv"])
  # Candidates are always whole: boxes of a batch are too often alike.
  contrast = functools.partial(contrast, space, scalars["logit_scale"])
  contrastive_loss = (
    contrast(image, text)
    + contrast(text, image)
    + contrast(box_image, text, valid)
    + contrast(box_text, image, valid)
  ) / 4

  inter, intra = inter_aperture_scale, intra_aperture_scale
  terms = {
    "text_image_entailment_loss": entailment(space, text, image, inter),
    "box_text_image_entailment_loss": entailment(
      space, box_text, box_image, inter, valid
    ),
    "cross_image_entailment_loss": entailment(
      space, box_image, owner_image, intra, valid
    ),
    "cross_text_entailment_loss": entailment(
      space, box_text, owner_text, intra, rows.both(distinct, valid)
    ),
  }
  entailment_loss = sum(terms.values()) / 2
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, terms | {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }
