"""HyCoCLIP: compositional entailment (Pal et al., 2025, arXiv 2410.06912)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from hyperclip_jax.data.feed import views as views_lib
from hyperclip_jax.data.feed.views import Display, View
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import contrastive, rows, tiled
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.entailment import entailment
from hyperclip_jax.sections import number
from hyperclip_jax.systems import dual_encoder, meru
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "HyCoCLIP"


@dataclasses.dataclass(frozen=True)
class Options(meru.Options):
  """Options of MERU, and the scales of apertures.

  Attributes:
    inter_aperture_scale: eta of pairs across modalities.
    intra_aperture_scale: eta of pairs within a modality.
  """

  inter_aperture_scale: float = number(0.7, training=True)
  intra_aperture_scale: float = number(1.2, training=True)


def terms(
  space: Space,
  scale: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  contrast: Contrast = contrastive.cross_entropy,
  entail_weight: float = 0.2,
  inter_aperture_scale: float = 0.7,
  intra_aperture_scale: float = 1.2,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes contrast and entailment of images, captions and their boxes.

  Texts are more general than images, and boxes than the image that they are
  part of: cones open from texts to images (inter-modal) and from boxes to full
  images (intra-modal).

  Args:
    space: space of the points.
    scale: factor of minus distances, the inverse temperature.
    outputs: {"whole": {"image", "text"}}, points (b, dim), and "part" with the
      same for K boxes an example (one in the paper): row j belongs to example
      j // K. The masks "distinct" and "valid" (b K,) of "part" mark rows whose
      phrase differs from the caption, and rows that hold a box; a missing mask
      marks all rows. Without "part", the terms are those of whole pairs.
    contrast: implementation of the cross entropy.
    entail_weight: weight of the mean of the inter- and intra-modal sums.
    inter_aperture_scale: eta of pairs of two modalities.
    intra_aperture_scale: eta of pairs of one modality.

  Returns:
    Loss, a scalar, and its terms.
  """
  if "part" not in outputs:
    eta = inter_aperture_scale
    return meru.terms(space, scale, outputs, contrast, entail_weight, eta)
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  part = outputs["part"]
  box_image, box_text = part["image"], part["text"]
  distinct, valid = part.get("distinct"), part.get("valid")
  owner_image, owner_text = (
    jnp.repeat(whole, len(box_image) // len(image), axis=0)
    for whole in (image, text)
  )
  # Candidates are never boxes: those of a batch are too often alike.
  contrast = functools.partial(contrast, space, scale)
  contrastive_loss = (
    contrast(image, text)
    + contrast(text, image)
    + contrast(box_image, text, valid)
    + contrast(box_text, image, valid)
  ) / 4

  inter, intra = inter_aperture_scale, intra_aperture_scale
  entails = {
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
  entailment_loss = sum(entails.values()) / 2
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, entails | {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }


encoder = meru.encoder


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: contrast and entailment of images and `view.count` boxes.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  return with_boxes(
    o, encoder(o), dual_encoder.hyperbolic_scalars(o.embed_dim), view, mesh
  )


def with_boxes(
  o: Options,
  e: Encoder,
  scalars: Mapping[str, dual_encoder.Scalar],
  view: View,
  mesh: Mesh,
) -> Task:
  """Makes the task of HyCoCLIP's loss in the space of an encoder.

  Args:
    o: options of the loss.
    e: encoder of two towers.
    scalars: scalar parameters of `e`, besides those of the towers.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  contrast = tiled.on(mesh, o.contrast)

  def loss(params, outputs, step):
    del step
    return terms(
      e.space(params),
      e.scale(params),
      outputs,
      contrast,
      o.entail_weight,
      o.inter_aperture_scale,
      o.intra_aperture_scale,
    )

  display = Display(
    {"whole": view._replace(count=1), "part": view}, view.count, show
  )
  return with_distinct(dual_encoder.with_loss(e, loss, scalars, display))


def with_distinct(task: Task) -> Task:
  """Adds the mask "distinct" to the outputs of "part".

  A phrase that is the whole caption has no angle to it but that of rounding.

  Args:
    task: task with the views "whole" and "part".

  Returns:
    Task whose `embed` compares the texts of parts and wholes.
  """

  def embed(variables, batch, key):
    outputs, variables = task.embed(variables, batch, key)
    distinct = views_lib.differs(batch["part"]["text"], batch["whole"]["text"])
    return outputs | {
      "part": outputs["part"] | {"distinct": distinct}
    }, variables

  return task._replace(embed=embed)


def show(
  record: Record, numbers: Float[np.ndarray, " k"]
) -> dict[str, Sequence[Part]]:
  """Chooses the full image and some of its parts at random.

  Args:
    record: record of the example.
    numbers: random numbers in [0, 1), one for each part to choose.

  Returns:
    Parts of the views "whole" and "part". A record without boxes is its own
    part.
  """
  whole = views_lib.whole(record)
  return {
    "whole": [whole],
    "part": views_lib.choose(record.parts or (whole,), numbers),
  }
