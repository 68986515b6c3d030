"""Loss of Hyper3-CLIP: UNCHA's contrast, hard cones, and those of queries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import contrastive, rows, uncertainty
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.entailment import Relation, of_relations
from hyperclip_jax.systems import hycoclip, uncha
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
  inter, intra = o.inter_aperture_scale, o.intra_aperture_scale
  pairs = hycoclip.relations(outputs, inter, intra)
  asked = query_relations(outputs, inter, intra, o.reverse_visual_order)
  found = of_relations(space, pairs | asked, o.cones)
  entails = {
    f"{name}_entailment_loss": relation.mean(found[name])
    for name, relation in pairs.items()
  }
  calibrated = uncha.calibrations(pairs, found, o.calibration, o.entropy)
  of_queries = query_terms(asked, found, outputs["query"]["weight"], o)
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


def query_relations(
  outputs: Outputs,
  inter_aperture_scale: float,
  intra_aperture_scale: float,
  reverse_visual_order: bool,
) -> dict[str, Relation]:
  """Lists what queries entail, and what entails them.

  A query's text entails what it pools of the image; that entails the image, or
  the other way round; and the text entails the longer text that it belongs to.

  Args:
    outputs: as for `terms`.
    inter_aperture_scale: eta of pairs of two modalities.
    intra_aperture_scale: eta of pairs of one modality.
    reverse_visual_order: whether the image entails what a query pools.

  Returns:
    Relations by name, of the queries that have a parent and a weight.
  """
  query, image = outputs["query"], outputs["whole"]["image"]
  text, pooled = query["text"], query["image"]
  of_image = len(text) // len(image)
  counted = (query["parent"] >= 0) & (query["weight"] > 0)
  if "valid" in query:
    counted &= query["valid"]
  # A parent's row may not count itself: the caption's does not.
  parents = jnp.take_along_axis(
    text.reshape(len(image), of_image, -1),
    jnp.maximum(query["parent"], 0).reshape(len(image), of_image)[..., None],
    axis=1,
  ).reshape(text.shape)
  owner = jnp.repeat(image, of_image, axis=0)
  visual = (owner, pooled) if reverse_visual_order else (pooled, owner)
  inter, intra = inter_aperture_scale, intra_aperture_scale
  return {
    "query": Relation(text, pooled, inter, counted),
    "query_visual": Relation(*visual, intra, counted),
    "query_text": Relation(text, parents, intra, counted),
  }


def query_terms(
  asked: Mapping[str, Relation],
  found: Mapping[str, Array],
  weight: Float[Array, " p"],
  o: "Options",
) -> Terms:
  """Computes the entailment of queries, and the calibration of their points.

  Args:
    asked: result of `query_relations`.
    found: their residuals.
    weight: weights of the queries of an example.
    o: weights and choices.

  Returns:
    Five terms, which hold their weights: means over the queries of a parent.
  """
  counted = asked["query"].where

  def mean(each):
    return rows.mean(weight * each, counted)

  def calibrated(name):
    apexes = rows.blank(asked[name].general, counted)
    u = uncertainty.uncertainty(apexes)
    return o.calibration * mean(uncertainty.calibration(found[name], u))

  visual, text = o.visual_weight, o.text_weight
  return {
    "query_entailment_loss": o.query_weight * mean(found["query"]),
    "query_visual_entailment_loss": visual * mean(found["query_visual"]),
    "query_text_entailment_loss": text * mean(found["query_text"]),
    "calibration_query_visual": visual * calibrated("query_visual"),
    "calibration_query_text": text * calibrated("query_text"),
  }
