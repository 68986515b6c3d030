"""MERU (Desai et al., 2023, arXiv 2304.09172)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.cones import MIN_RADIUS
from hyperclip_jax.geometry.spaces import Lorentz, Space
from hyperclip_jax.losses import contrastive, tiled
from hyperclip_jax.losses import entailment as entailment_lib
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.sections import number
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "MERU"


@dataclasses.dataclass(frozen=True)
class Options(dual_encoder.Options):
  """Options of two towers, and the weight of the entailment term.

  Attributes:
    entail_weight: weight of the entailment loss.
    entail_ramp: steps in which that weight rises from 0.
    min_radius: K, the scale of the cones: half a cone opens by asin(2 K /
      (sqrt(c) |x|)). As published 0.1, with which little but texts at the root
      has cones wide enough to hold their images.
  """

  entail_weight: float = number(0.2, least=0, training=True)
  entail_ramp: int = number(0, least=0, training=True)
  min_radius: float = number(MIN_RADIUS)


def terms(
  space: Space,
  scale: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  contrast: Contrast = contrastive.cross_entropy,
  entail_weight: float = 0.2,
  aperture_scale: float = 1.0,
  cones: str = "hard",
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes contrast by geodesic distance, and entailment by captions.

  Args:
    space: space of the points.
    scale: factor of minus distances, the inverse temperature.
    outputs: {"whole": {"image", "text"}}, points (b, dim).
    contrast: implementation of the cross entropy.
    entail_weight: weight of the entailment term.
    aperture_scale: eta, the factor of half apertures.
    cones: kind of the residuals; see `losses.entailment.residuals`.

  Returns:
    The loss and its terms.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  wholes = jnp.stack([image, text])
  contrastive_loss = jnp.mean(contrast(space, scale, wholes, wholes[::-1]))
  entailment_loss = entailment_lib.entailment(
    space, text, image, aperture_scale, kind=cones
  )
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }


def risen(
  o: Options,
  step: Int[Array, ""],
  loss: Float[Array, ""],
  found: Mapping[str, Float[Array, ""]],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Lets the weight of entailment rise, if the options say so.

  Args:
    o: options; without a ramp the loss stays, to the last bit.
    step: number of updates so far.
    loss: loss with the whole weight.
    found: its terms, with "contrastive_loss" and "entailment_loss".

  Returns:
    Loss and its terms, with the "entail_weight" of the step.
  """
  if not o.entail_ramp:
    return loss, dict(found)
  weight = o.entail_weight * entailment_lib.ramp(step, o.entail_ramp)
  loss = found["contrastive_loss"] + weight * found["entailment_loss"]
  return loss, {**found, "entail_weight": weight}


def space_of(o: Options) -> Callable[[Any], Lorentz]:
  """Makes the function from parameters to the hyperboloid that they train."""
  return lambda params: Lorentz(jnp.exp(params["curv"]), o.min_radius)


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto a hyperboloid."""
  scalars = dual_encoder.hyperbolic_scalars(o.embed_dim)
  return dual_encoder.encoder(o, space_of(o), scalars)


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: contrast and entailment of images and captions.

  Args:
    o: options of the system.
    view: crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, contrast = encoder(o), tiled.on(mesh, o.contrast)

  def loss(params, outputs, step):
    space, scale = e.space(params), e.scale(params)
    found = terms(space, scale, outputs, contrast, o.entail_weight)
    return risen(o, step, *found)

  return dual_encoder.with_loss(
    e,
    loss,
    dual_encoder.hyperbolic_scalars(o.embed_dim),
    views.whole_only(view._replace(count=1)),
  )
