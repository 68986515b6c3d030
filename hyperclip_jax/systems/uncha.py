"""UNCHA: uncertainty of boxes by their radius, and contrast among boxes.

Kim et al., UNCHA: Uncertainty-guided Compositional Hyperbolic Alignment,
  CVPR 2026.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import Display, View
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import contrastive, rows, tiled, uncertainty
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.entailment import KINDS, Relation, of_relations
from hyperclip_jax.sections import choice, number, switch
from hyperclip_jax.systems import dual_encoder, hycoclip, meru
from hyperclip_jax.systems.dual_encoder import Scalar
from hyperclip_jax.systems.published import Published
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "UNCHA"

Outputs = Mapping[str, Mapping[str, Array]]
Terms = dict[str, Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class Options(hycoclip.Options):
  """Options of HyCoCLIP, and those of uncertainty.

  Attributes:
    cones: as of HyCoCLIP.
    calibration: weight alpha of the calibration of uncertainties.
    entropy: whether the entropy of the uncertainties is part of it.
    multiplicity: whether an image is a candidate as often as it has boxes, as
      in the official code, where the loss of a box cannot be below the
      logarithm of that number. False makes it one candidate.
  """

  cones: str = choice("leaky", KINDS, training=True)
  calibration: float = number(10.0, least=0, training=True)
  entropy: bool = switch(True, training=True)
  multiplicity: bool = switch(True, training=True)


class Scales(NamedTuple):
  """Factors of nearness: whole pairs, boxes and wholes, boxes and phrases."""

  whole: Float[Array, ""]
  cross: Float[Array, ""]
  local: Float[Array, ""]


def scalars(o: hycoclip.Options) -> dict[str, Scalar]:
  """Lists the scalars: HyCoCLIP's, and the scales of both other groups."""
  return hycoclip.scalars(o) | {
    "logit_scale_cross": Scalar(math.log(1 / 0.06), 0.0, 100.0),
    "logit_scale_local": Scalar(math.log(1 / 0.05), 0.0, 100.0),
  }


def scales(params: Mapping[str, Array]) -> Scales:
  """Returns the scales of a model's parameters."""
  names = ("logit_scale", "logit_scale_cross", "logit_scale_local")
  return Scales(*(jnp.exp(params[name]) for name in names))


def contrasts(
  space: Space,
  scales: Scales,
  outputs: Outputs,
  contrast: Contrast = contrastive.cross_entropy,
  multiplicity: bool = True,
) -> Terms:
  """Computes the contrast of whole pairs, of boxes and wholes, and of boxes.

  Args:
    space: hyperboloid of the points.
    scales: factors of minus distances.
    outputs: as for `hycoclip.terms`.
    contrast: implementation of the cross entropy.
    multiplicity: whether an image is a candidate once for each of its boxes.

  Returns:
    Three terms, each the mean of two directions.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  part = outputs["part"]
  valid = part.get("valid")
  wholes = jnp.stack([image, text])
  boxes = jnp.stack([part["image"], part["text"]])
  counts = local = None
  if valid is not None:
    local = valid.astype(image.dtype)
    if multiplicity:
      counts = jnp.sum(local.reshape(len(image), -1), axis=1)
  u = uncertainty.uncertainty(boxes)
  sure = scales.cross * uncertainty.confidence(u)
  # To texts from images, and to images from texts.
  candidates, others = wholes[::-1], boxes[::-1]
  ways = {
    "contrastive_global": contrast(space, scales.whole, wholes, candidates),
    "contrastive_cross": contrast(
      space, sure, boxes, candidates, valid, counts
    ),
    "contrastive_local": contrast(
      space, scales.local, boxes, others, valid, local
    ),
  }
  return {name: jnp.mean(each) for name, each in ways.items()}


def calibrations(
  pairs: Mapping[str, Relation],
  found: Mapping[str, Array],
  alpha: float,
  entropy: bool,
) -> Terms:
  """Computes the calibration of boxes and of phrases under their wholes.

  Args:
    pairs: result of `hycoclip.relations`.
    found: their residuals.
    alpha: weight.
    entropy: whether the entropy of the uncertainties is added.

  Returns:
    Two terms.
  """

  def calibrated(name):
    where = pairs[name].where
    u = uncertainty.uncertainty(rows.blank(pairs[name].general, where))
    each = uncertainty.calibration(found[name], u)
    loss = pairs[name].mean(each)
    if entropy:
      loss += uncertainty.entropy(u, where)
    return alpha * loss

  return {
    "calibration_image": calibrated("cross_image"),
    "calibration_text": calibrated("cross_text"),
  }


def total(terms: Terms) -> Float[Array, ""]:
  """Sums one term or more."""
  return functools.reduce(jnp.add, terms.values())


def terms(
  space: Space,
  scales: Scales,
  outputs: Outputs,
  contrast: Contrast = contrastive.cross_entropy,
  o: Options = Options(),
) -> tuple[Float[Array, ""], Terms]:
  """Computes UNCHA's loss.

  Args:
    space: hyperboloid of the points.
    scales: factors of minus distances.
    outputs: as for `hycoclip.terms`.
    contrast: implementation of the cross entropy.
    o: weights and choices.

  Returns:
    Loss, a scalar, and its terms.
  """
  compared = contrasts(space, scales, outputs, contrast, o.multiplicity)
  pairs = hycoclip.relations(
    outputs, o.inter_aperture_scale, o.intra_aperture_scale
  )
  found = of_relations(space, pairs, o.cones)
  entails = {
    f"{name}_entailment_loss": pairs[name].mean(each) / 2
    for name, each in found.items()
  }
  inter = entails["text_image_entailment_loss"]
  inter += entails["box_text_image_entailment_loss"]
  intra = entails["cross_image_entailment_loss"]
  intra += entails["cross_text_entailment_loss"]
  calibrated = calibrations(pairs, found, o.calibration, o.entropy)
  contrastive_loss = total(compared)
  entailment_loss = inter + intra / 2 + total(calibrated)
  loss = contrastive_loss + o.entail_weight * entailment_loss
  return loss, {
    **compared,
    **entails,
    **calibrated,
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }


def _official_scalars(o: Options) -> dict[str, tuple[str, int | None] | None]:
  names = {
    "logit_scale": "logit_scale_global",
    "logit_scale_cross": "logit_scale_global_local",
  }
  return {names.get(n, n): (n, None) for n in scalars(o)}


published = Published("logit_scale_local", _official_scalars)


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto a hyperboloid."""
  return dual_encoder.encoder(o, meru.space_of(o), scalars(o))


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: images, captions and the first `view.count` boxes.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, contrast = encoder(o), tiled.on(mesh, o.contrast)

  def loss(params, outputs, step):
    value, found = terms(e.space(params), scales(params), outputs, contrast, o)
    return hycoclip.held(o, params, outputs, step, value, found)

  display = Display(
    {"whole": view._replace(count=1), "part": view},
    0,
    lambda record, _: show(record, view.count),
  )
  return hycoclip.with_distinct(
    dual_encoder.with_loss(e, loss, scalars(o), display)
  )


def show(record: Record, count: int) -> dict[str, Sequence[Part]]:
  """Chooses the full image and its first parts, in the order of the file.

  Args:
    record: record of the example.
    count: most parts.

  Returns:
    Parts of the views "whole" and "part". A record without boxes is its own
    part.
  """
  whole = views.whole(record)
  return {"whole": [whole], "part": (record.parts or (whole,))[:count]}
