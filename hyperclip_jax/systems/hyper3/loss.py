"""Loss of Hyper3-CLIP: UNCHA's contrast, hard cones, and those of queries."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import contrastive, rows, uncertainty
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.entailment import residuals
from hyperclip_jax.systems import uncha
from hyperclip_jax.systems.uncha import Outputs, Scales, Terms, total

if TYPE_CHECKING:
  from hyperclip_jax.systems.hyper3 import Options


def terms(
  space: Space,
  scales: Scales,
  outputs: Outputs,
  o: "Options",
  contrast: Contrast = contrastive.cross_entropy,
) -> tuple[Float[Array, ""], Terms]:
  """Computes Hyper3-CLIP's loss.

  Args:
    space: hyperboloid of the points.
    scales: factors of minus distances.
    outputs: as for `uncha.terms`, and "query": points "image" and "text" of
      b Q queries, "parent" (b Q,) int, the parent's number in the example or
      -1, "weight" (b Q,), and "valid".
    o: weights and choices.
    contrast: implementation of the cross entropy.

  Returns:
    Loss, a scalar, and its terms.
  """
  compared = uncha.contrasts(space, scales, outputs, contrast, o.multiplicity)
  found = uncha.relations(
    space, outputs, o.cones, o.inter_aperture_scale, o.intra_aperture_scale
  )
  entails = {f"{k}_entailment_loss": one.mean() for k, one in found.items()}
  calibrated = uncha.calibrations(found, o.calibration, o.entropy)
  of_queries = query_terms(space, outputs, o)
  contrastive_loss = total(compared)
  entailment_loss = total(entails) + total(calibrated) + total(of_queries)
  loss = contrastive_loss + o.entail_weight * entailment_loss
  return loss, {
    **compared,
    **entails,
    **calibrated,
    **of_queries,
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }


def query_terms(space: Space, outputs: Outputs, o: "Options") -> Terms:
  """Computes the entailment of queries, and the calibration of their points.

  A query's text entails what it pools of the image; that entails the image, or
  the other way round by `reverse_visual_order`; and the text entails the longer
  text that it belongs to.

  Args:
    space: hyperboloid of the points.
    outputs: as for `terms`.
    o: weights and choices.

  Returns:
    Five terms, which hold their weights: means over the queries of a parent.
  """
  query, image = outputs["query"], outputs["whole"]["image"]
  of_image = len(query["text"]) // len(image)
  parent, weight = query["parent"], query["weight"]
  counted = (parent >= 0) & (weight > 0)
  if "valid" in query:
    counted &= query["valid"]
  text, pooled = (
    rows.blank(query[kind], counted) for kind in ("text", "image")
  )
  # A parent's row may not count itself: the caption's does not.
  parents = jnp.take_along_axis(
    query["text"].reshape(len(image), of_image, -1),
    jnp.maximum(parent, 0).reshape(len(image), of_image)[..., None],
    axis=1,
  ).reshape(text.shape)
  parents = rows.blank(parents, counted)
  owner = jnp.repeat(image, of_image, axis=0)
  count = jnp.maximum(jnp.sum(counted), 1).astype(text.dtype)

  def mean(each):
    return jnp.sum(jnp.where(counted, weight * each, 0)) / count

  inter, intra = o.inter_aperture_scale, o.intra_aperture_scale
  general, specific = pooled, owner
  if o.reverse_visual_order:
    general, specific = owner, pooled
  visual = residuals(space, general, specific, intra, o.cones)
  textual = residuals(space, text, parents, intra, o.cones)

  def calibrated(residuals, apexes):
    u = uncertainty.uncertainty(apexes)
    return o.calibration * mean(uncertainty.calibration(residuals, u))

  across = residuals(space, text, pooled, inter, o.cones)
  return {
    "query_entailment_loss": o.query_weight * mean(across),
    "query_visual_entailment_loss": o.visual_weight * mean(visual),
    "query_text_entailment_loss": o.text_weight * mean(textual),
    "calibration_query_visual": o.visual_weight * calibrated(visual, general),
    "calibration_query_text": o.text_weight * calibrated(textual, text),
  }
