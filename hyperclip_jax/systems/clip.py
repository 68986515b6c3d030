"""CLIP (Radford et al., 2021, arXiv 2103.00020)."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.spaces import Space, Sphere
from hyperclip_jax.losses import contrastive, tiled
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "CLIP"

Options = dual_encoder.Options
SCALARS = dual_encoder.LOGIT_SCALE


def terms(
  space: Space,
  scale: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  contrast: Contrast = contrastive.cross_entropy,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes the cross entropy of scaled cosines in both directions.

  Args:
    space: unit sphere.
    scale: factor of cosines, the inverse temperature.
    outputs: {"whole": {"image", "text"}}, unit vectors (b, dim).
    contrast: implementation of the cross entropy.

  Returns:
    The loss and its terms.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  wholes = jnp.stack([image, text])
  loss = jnp.mean(contrast(space, scale, wholes, wholes[::-1]))
  return loss, {"contrastive_loss": loss}


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto the unit sphere."""
  return dual_encoder.encoder(o, lambda params: Sphere(), SCALARS)


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: contrast of images and captions.

  Args:
    o: options of the system.
    view: crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, contrast = encoder(o), tiled.on(mesh, o.contrast)

  def loss(params, outputs, step):
    del step
    return terms(e.space(params), e.scale(params), outputs, contrast)

  return dual_encoder.with_loss(
    e,
    loss,
    SCALARS,
    views.whole_only(view._replace(count=1)),
  )
