"""HyCoCLIP: compositional entailment (Pal et al., 2025, arXiv 2410.06912)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from hyperclip_jax.data.feed import views as views_lib
from hyperclip_jax.data.feed.views import Display, View
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.files import shown
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import contrastive, rows, tiled
from hyperclip_jax.losses import entailment as entailment_lib
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.entailment import KINDS, Relation
from hyperclip_jax.sections import choice, number
from hyperclip_jax.systems import dual_encoder, meru
from hyperclip_jax.systems.dual_encoder import CURV_RANGE, Scalar
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "HyCoCLIP"


@dataclasses.dataclass(frozen=True)
class Options(meru.Options):
  """Options of MERU, the scales of apertures, and what makes cones hold.

  By default the latter are as published.

  Attributes:
    inter_aperture_scale: eta of pairs across modalities.
    intra_aperture_scale: eta of pairs within a modality.
    cones: what is penalised; see `losses.entailment.residuals`.
    radius_weight: weight of the penalty on texts and boxes near the root.
    least_radius: sqrt(c) times the radius below which they are penalised.
    curv_range: bounds of the curvature; equal ones fix it.
    init_radius: distance from the root, about, at which points start.
  """

  inter_aperture_scale: float = number(0.7, training=True)
  intra_aperture_scale: float = number(1.2, training=True)
  cones: str = choice("hard", KINDS, training=True)
  radius_weight: float = number(0.0, least=0, training=True)
  least_radius: float = number(0.3, training=True)
  curv_range: tuple[float, ...] = dataclasses.field(
    default=CURV_RANGE, metadata={"training": True}
  )
  init_radius: float = number(1.0, training=True)

  def problems(self):
    yield from super().problems()
    bounds, widest = self.curv_range, self.factor_size**0.5
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] < math.inf:
      yield (
        "curv_range must be two positive numbers in ascending order, found "
        f"{shown(bounds)}"
      )
    if self.init_radius > widest:
      yield (
        f"init_radius must be at most {widest:.4g}, the square root of the "
        f"width of a space, found {self.init_radius}"
      )

  @property
  def factor_size(self) -> int:
    """Width of a hyperboloid."""
    return self.embed_dim


def terms(
  space: Space,
  scale: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  contrast: Contrast = contrastive.cross_entropy,
  entail_weight: float = 0.2,
  inter_aperture_scale: float = 0.7,
  intra_aperture_scale: float = 1.2,
  cones: str = "hard",
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
    cones: kind of the residuals; see `losses.entailment.residuals`.

  Returns:
    Loss, a scalar, and its terms.
  """
  if "part" not in outputs:
    eta = inter_aperture_scale
    return meru.terms(
      space, scale, outputs, contrast, entail_weight, eta, cones
    )
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  part = outputs["part"]
  # Candidates are never boxes: those of a batch are too often alike.
  wholes = jnp.stack([image, text])
  boxes = jnp.stack([part["image"], part["text"]])
  candidates = wholes[::-1]
  of_wholes = contrast(space, scale, wholes, candidates)
  of_boxes = contrast(space, scale, boxes, candidates, part.get("valid"))
  contrastive_loss = jnp.mean(of_wholes + of_boxes) / 2

  pairs = relations(outputs, inter_aperture_scale, intra_aperture_scale)
  found = entailment_lib.of_relations(space, pairs, cones)
  entails = {
    f"{name}_entailment_loss": pairs[name].mean(each)
    for name, each in found.items()
  }
  entailment_loss = sum(entails.values()) / 2
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, entails | {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }


def relations(
  outputs: Mapping[str, Mapping[str, Array]],
  inter_aperture_scale: float,
  intra_aperture_scale: float,
) -> dict[str, Relation]:
  """Lists what entails what: texts images, and boxes the wholes they are of.

  Args:
    outputs: as for `terms`, with "part".
    inter_aperture_scale: eta of pairs of two modalities.
    intra_aperture_scale: eta of pairs of one modality.

  Returns:
    Relations by name.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  part = outputs["part"]
  box_image, box_text = part["image"], part["text"]
  valid = part.get("valid")
  distinct = rows.both(part.get("distinct"), valid)
  owner_image, owner_text = (
    jnp.repeat(whole, len(box_image) // len(image), axis=0)
    for whole in (image, text)
  )
  inter, intra = inter_aperture_scale, intra_aperture_scale
  return {
    "text_image": Relation(text, image, inter),
    "box_text_image": Relation(box_text, box_image, inter, valid),
    "cross_image": Relation(box_image, owner_image, intra, valid),
    "cross_text": Relation(box_text, owner_text, intra, distinct),
  }


def held(
  o: Options,
  params: Mapping[str, Array],
  outputs: Mapping[str, Mapping[str, Array]],
  step: Int[Array, ""],
  loss: Float[Array, ""],
  found: Mapping[str, Float[Array, ""]],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Adds what makes cones hold to a loss: the ramp, and the penalty of radii.

  Args:
    o: options; without a ramp and a penalty the loss stays, to the last bit.
    params: parameters, with the "curv" of the space.
    outputs: as for `terms`.
    step: number of updates so far.
    loss: loss of `terms` or alike.
    found: its terms, with "contrastive_loss" and "entailment_loss".

  Returns:
    Loss and its terms.
  """
  loss, terms = meru.risen(o, step, loss, found)
  if o.radius_weight:
    part = outputs.get("part", {})
    apexes = [(outputs["whole"]["text"], None)]
    apexes += [
      (part[kind], part.get("valid")) for kind in ("text", "image") if part
    ]
    curv = jnp.exp(params["curv"])
    each = [
      entailment_lib.near_root(curv, rows, o.least_radius, valid)
      for rows, valid in apexes
    ]
    terms["radius_loss"] = jnp.mean(jnp.stack(each))
    loss += o.radius_weight * terms["radius_loss"]
  return loss, terms


def scalars(o: Options) -> dict[str, Scalar]:
  """Lists the scalars: those of MERU, with the options' bounds and start."""
  return dual_encoder.hyperbolic_scalars(
    o.embed_dim, (), o.curv_range, o.init_radius
  )


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto a hyperboloid."""
  return dual_encoder.encoder(o, meru.space_of(o), scalars(o))


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: contrast and entailment of images and `view.count` boxes.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  return with_boxes(o, encoder(o), scalars(o), view, mesh)


def with_boxes(
  o: Options,
  e: Encoder,
  scalars: Mapping[str, Scalar],
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
    value, found = terms(
      e.space(params),
      e.scale(params),
      outputs,
      contrast,
      o.entail_weight,
      o.inter_aperture_scale,
      o.intra_aperture_scale,
      o.cones,
    )
    return held(o, params, outputs, step, value, found)

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
