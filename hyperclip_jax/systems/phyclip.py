"""PHyCLIP: HyCoCLIP in a product of hyperboloids.

Yoshikawa and Matsubara, PHyCLIP: l1-Product of Hyperbolic Factors Unifies
  Hierarchy and Compositionality in Vision-Language Representation Learning,
  ICLR 2026.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.product import NORMS, SCORES, Product
from hyperclip_jax.geometry.spaces import Lorentz, Space
from hyperclip_jax.sections import choice, number, switch
from hyperclip_jax.systems import dual_encoder, hycoclip
from hyperclip_jax.systems.published import Published
from hyperclip_jax.systems.task import Encoder, Task

TITLE = "PHyCLIP"


@dataclasses.dataclass(frozen=True)
class Options(hycoclip.Options):
  """Options of HyCoCLIP, and those of the factors.

  Attributes:
    factor_width: width of each factor; `embed_dim` has as many as it divides
      into.
    norm: how a distance comes of those in the factors: "l1" is their mean, "l2"
      their root mean square.
    score: what trained models rank by: "distance", or "inner_sum" as the
      official evaluation, which orders otherwise.
    decay_factors: whether curvatures and alphas decay, as they do in the
      official code by mistake.
  """

  factor_width: int = number(8)
  norm: str = choice("l1", NORMS)
  score: str = choice("distance", SCORES)
  decay_factors: bool = switch(False, training=True)

  def problems(self):
    yield from super().problems()
    if self.embed_dim % self.factor_width:
      yield (
        f"factor_width must divide embed_dim {self.embed_dim}, found "
        f"{self.factor_width}"
      )

  @property
  def factor_size(self) -> int:
    """Width of a hyperboloid."""
    return self.factor_width


def _scalars(o: Options) -> dict[str, dual_encoder.Scalar]:
  factors = (o.embed_dim // o.factor_width,)
  return dual_encoder.hyperbolic_scalars(
    o.factor_width, factors, o.curv_range, o.init_radius
  )


def _official_scalars(o: Options) -> dict[str, tuple[str, int | None] | None]:
  """The official code also stores HyCoCLIP's, and does not use them."""
  names = {
    "curvs": "curv",
    "visual_concept_alphas": "visual_alpha",
    "textual_concept_alphas": "textual_alpha",
  }
  factors = range(o.embed_dim // o.factor_width)
  found: dict[str, tuple[str, int | None] | None] = {
    "logit_scale": ("logit_scale", None),
    **dict.fromkeys(names.values()),
  }
  for name, ours in names.items():
    found |= {f"{name}.{row}": (ours, row) for row in factors}
  return found


def _official_options(names: Iterable[str], width: int) -> dict[str, int]:
  return {"factor_width": width // sum(n.startswith("curvs.") for n in names)}


published = Published("curvs.0", _official_scalars, _official_options)


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers into a product of hyperboloids."""

  def space(params: Any) -> Space:
    curv = jnp.exp(params["curv"])
    if len(curv) == 1:  # then it is HyCoCLIP, to the last bit
      return Lorentz(curv[0], o.min_radius)
    return Product(curv, o.norm, o.score, o.min_radius)

  return dual_encoder.encoder(o, space, _scalars(o))


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: HyCoCLIP's loss, with the product distance.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  made = hycoclip.with_boxes(o, encoder(o), _scalars(o), view, mesh)
  if not o.decay_factors:
    return made
  factors = ("curv", "visual_alpha", "textual_alpha")
  rules = made.rules._replace(
    matrices=(*made.rules.matrices, *factors),
    scalars=tuple(n for n in made.rules.scalars if n not in factors),
  )
  return made._replace(rules=rules)
