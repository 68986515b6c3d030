"""Two towers, two projections and the lift onto the hyperboloid."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from hyperclip_jax.geometry.spaces import Lorentz, Space, Sphere
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.vit import ViT

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Bounds of the scalar parameters, which live in log space: the temperature's
# scale stays below 100, curvature within a factor 10 of its initial 1, and
# the lift never stretches (Desai et al., 2023, MERU, section 4).
SCALAR_BOUNDS = {
  "logit_scale": (-math.inf, math.log(100.0)),
  "curv": (math.log(0.1), math.log(10.0)),
  "visual_alpha": (-math.inf, 0.0),
  "textual_alpha": (-math.inf, 0.0),
}


class DualEncoder(nn.Module):
  """CLIP, MERU and HyCoCLIP's model; CLIP differs in the lift alone.

  Parameters are float32 and the towers compute in their `dtype`; projections,
  scalars and geometry are float32.

  Attributes:
    vision: the image tower.
    text: the text tower.
    embed_dim: width D of the shared space.
    hyperbolic: lift by expmap0 (MERU, HyCoCLIP) or normalise (CLIP).
    pixel_mean: subtracted from pixels in [0, 1].
    pixel_std: divides pixels after that.
  """

  vision: ViT
  text: TextTransformer
  embed_dim: int
  hyperbolic: bool
  pixel_mean: tuple[float, ...] = IMAGENET_MEAN
  pixel_std: tuple[float, ...] = IMAGENET_STD

  def setup(self):
    def projection(width):
      initializer = nn.initializers.normal(width**-0.5)
      return nn.Dense(self.embed_dim, use_bias=False, kernel_init=initializer)

    def scalar(name, value):
      return self.param(name, nn.initializers.constant(value), ())

    self.visual_proj = projection(self.vision.width)
    self.textual_proj = projection(self.text.width)
    self.logit_scale = scalar("logit_scale", math.log(1 / 0.07))
    if self.hyperbolic:
      self.curv = scalar("curv", 0.0)
      self.visual_alpha = scalar("visual_alpha", -math.log(self.embed_dim) / 2)
      self.textual_alpha = scalar(
        "textual_alpha", -math.log(self.embed_dim) / 2
      )

  def __call__(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "c l"]
  ) -> tuple[Float[Array, "b dim"], Float[Array, "c dim"]]:
    """Lifted embeddings of images and texts; initialises every parameter."""
    return (
      self.lift(self.encode_image(images)),
      self.lift(self.encode_text(tokens)),
    )

  def encode_image(
    self, images: Float[Array, "b h w 3"]
  ) -> Float[Array, "b dim"]:
    """Images with pixels in [0, 1] -> tangent vectors at the root.

    For CLIP these are the features before they are normalised.
    """
    mean = jnp.asarray(self.pixel_mean, images.dtype)[None, None, None]
    std = jnp.asarray(self.pixel_std, images.dtype)[None, None, None]
    features = self.vision((images - mean) / std)
    features = self.visual_proj(_at_least_float32(features))
    if self.hyperbolic:
      return jnp.exp(self.visual_alpha) * features
    return features

  def encode_text(self, tokens: Int[Array, "b l"]) -> Float[Array, "b dim"]:
    """Token ids -> tangent vectors at the root, as `encode_image`."""
    features = self.textual_proj(_at_least_float32(self.text(tokens)))
    if self.hyperbolic:
      return jnp.exp(self.textual_alpha) * features
    return features

  def lift(self, tangents: Float[Array, "b dim"]) -> Float[Array, "b dim"]:
    """Points of `space`."""
    return self.space().lift(tangents)

  def space(self) -> Space:
    """The hyperboloid of the trained curvature, or the unit sphere of CLIP."""
    return Lorentz(jnp.exp(self.curv)) if self.hyperbolic else Sphere()

  def scalars(self) -> dict[str, Float[Array, ""]]:
    """{"logit_scale", "curv"}: out of log space; CLIP has no "curv"."""
    names = ("logit_scale", "curv") if self.hyperbolic else ("logit_scale",)
    return {name: jnp.exp(getattr(self, name)) for name in names}


def param_shapes(model: DualEncoder) -> Any:
  """The parameter tree as `jax.ShapeDtypeStruct`s; nothing is allocated."""
  side = model.vision.patch  # parameters do not depend on the image size
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  init: Any = functools.partial(model.init, jax.random.key(0))
  return jax.eval_shape(init, images, tokens)["params"]


def bound_scalars(params: dict[str, Any]) -> dict[str, Any]:
  """Projects the scalar parameters back into their bounds."""
  return params | {
    name: jnp.clip(params[name], *bounds)
    for name, bounds in SCALAR_BOUNDS.items()
    if name in params
  }


def _at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
