"""EuCLIP: MERU's loss in Euclidean space, which a hyperbolic one must beat.

Chou and Alam, Embedding Geometries of Contrastive Language-Image Pre-Training,
  ECCV 2024 workshops.
"""

import dataclasses
from typing import Any

from jax.sharding import Mesh

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.euclid import NEARNESS, Euclid
from hyperclip_jax.losses import tiled
from hyperclip_jax.sections import choice
from hyperclip_jax.systems import dual_encoder, meru
from hyperclip_jax.systems.dual_encoder import Scalar
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "EuCLIP"


@dataclasses.dataclass(frozen=True)
class Options(meru.Options):
  """Options of MERU, and those of the space.

  Attributes:
    nearness: what is compared: minus the "squared" distance, or minus the
      "distance".
    min_radius: K of the cones, whose half aperture is asin(K / |x|) here.
  """

  nearness: str = choice("squared", NEARNESS)


def _scalars(o: Options) -> dict[str, Scalar]:
  # The paper starts lower where cones pull on the texts.
  start = -1.0 if o.entail_weight else 0.0
  return {"logit_scale": Scalar(start, 0.0, 100.0)}


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers into Euclidean space."""

  def space(params: Any) -> Euclid:
    del params
    return Euclid(o.nearness, o.min_radius)

  return dual_encoder.encoder(o, space, _scalars(o))


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
    found = meru.terms(space, scale, outputs, contrast, o.entail_weight)
    return meru.risen(o, step, *found)

  display = views.whole_only(view._replace(count=1))
  return dual_encoder.with_loss(e, loss, _scalars(o), display)
