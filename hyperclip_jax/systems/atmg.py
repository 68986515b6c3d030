"""ATMG: texts and images compared by angles, which may keep a gap.

Ramasinghe et al., Accept the Modality Gap: An Exploration in the Hyperbolic
  Space, CVPR 2024.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.angular import Angular
from hyperclip_jax.losses import contrastive, tiled
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.sections import number
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.dual_encoder import Scalar
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "ATMG"


@dataclasses.dataclass(frozen=True)
class Options(dual_encoder.Options):
  """Options of two towers, and the curvature.

  Attributes:
    curv: c of the space, whose curvature -c is not trained.
  """

  curv: float = number(0.1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Angles:
  """Exterior angles at the rows of a contrast, as nearness.

  Attributes:
    curv: c of the space.
    sign: 1 if the matching point shall lie inward of the row, -1 if outward.
  """

  curv: Float[Array, ""]
  sign: int = dataclasses.field(metadata={"static": True})

  def pairs(
    self, x: Float[Array, "n dim"], y: Float[Array, "n dim"]
  ) -> Float[Array, " n"]:
    """Signed exterior angles at x, row by row."""
    return self.sign * lorentz.exterior_angle(x, y, self.curv)

  def pairwise(
    self, x: Float[Array, "n dim"], y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Signed exterior angles at x, of all pairs."""
    return self.sign * lorentz.pairwise_exterior_angle(x, y, self.curv)


def terms(
  curv: Float[Array, ""],
  scale: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  contrast: Contrast = contrastive.cross_entropy,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes the contrast by exterior angles, in both directions.

  An image's match is the text with the largest angle at the image; a text's is
  the image with the smallest angle at the text. So texts move inward.

  Args:
    curv: c of the points' hyperboloid.
    scale: factor of angles, the inverse temperature.
    outputs: {"whole": {"image", "text"}}, points (b, dim).
    contrast: implementation of the cross entropy.

  Returns:
    The loss and its terms.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  of_images = contrast(Angles(curv, 1), scale, image, text)
  of_texts = contrast(Angles(curv, -1), scale, text, image)
  loss = (of_images + of_texts) / 2
  return loss, {"contrastive_loss": loss}


def _scalars(o: Options) -> dict[str, Scalar]:
  found = dual_encoder.hyperbolic_scalars(o.embed_dim)
  return {name: scalar for name, scalar in found.items() if name != "curv"}


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto a hyperboloid of fixed curvature."""

  def space(params: Any) -> Angular:
    del params
    return Angular(jnp.float32(o.curv))

  return dual_encoder.encoder(o, space, _scalars(o))


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
    return terms(jnp.float32(o.curv), e.scale(params), outputs, contrast)

  display = views.whole_only(view._replace(count=1))
  return dual_encoder.with_loss(e, loss, _scalars(o), display)
