"""Towers, projectors and heads of CLIP-Rocket, and its encoder."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.losses.selfsup import Pair
from hyperclip_jax.nn.batch_norm import BatchNorm
from hyperclip_jax.nn.projector import Projector
from hyperclip_jax.nn.resnet import ResNet
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.vit import ViT
from hyperclip_jax.systems.dual_encoder import Scalar
from hyperclip_jax.systems.rocket.options import SIAMESE, WITH_HEADS, Options
from hyperclip_jax.systems.task import Encoder, Variables

LOGIT_SCALE = Scalar(math.log(1 / 0.07), 1.0, math.exp(4.6052))
STRONG_SCALE = LOGIT_SCALE._replace(value=math.log(1 / 0.1))
MODALITIES = {"image": "visual", "text": "textual"}


def scalars(o: Options) -> dict[str, Scalar]:
  """Lists the scales of the projectors."""
  found = {"logit_scale": LOGIT_SCALE}
  if o.has_strong_projector:
    found["strong_logit_scale"] = STRONG_SCALE
  return found


class Views(NamedTuple):
  """Rows of the weak view, and of each strong view.

  Attributes:
    weak: rows of images and texts.
    strong: the same for each strong view.
  """

  weak: Pair
  strong: tuple[Pair, ...]


class Embedded(NamedTuple):
  """Results of the towers in training.

  Attributes:
    projected: z of the weak view and h of the strong ones, of any length.
    heads: v of BarLIP, SiamLIP, BYOLIP and SwALIP's first version; or None.
    predicted: p of SiamLIP and BYOLIP; or None.
  """

  projected: Views
  heads: Views | None = None
  predicted: Views | None = None


class Towers(nn.Module):
  """Flax module of both towers with all projectors and heads.

  Attributes:
    options: options of the system.
  """

  options: Options

  def setup(self):
    o = self.options
    dtype = jnp.dtype(o.dtype)
    blocks = {"dtype": dtype, "remat": o.remat, "unroll": o.unroll}
    sizes = dataclasses.asdict(o.vision)
    tower, stages = sizes.pop("tower"), (sizes.pop("blocks"), o.vision.widths)
    del sizes["widths"]
    self.vision = (
      ResNet(*stages, dtype=dtype)
      if tower == "resnet"
      else ViT(**sizes, **blocks, positions="learned", epsilon=1e-6)
    )
    text = dataclasses.asdict(o.text)
    self.text = TextTransformer(**text, **blocks, activation="quick_gelu")
    self.visual_proj, self.textual_proj = (
      nn.Dense(
        o.embed_dim,
        use_bias=False,
        kernel_init=nn.initializers.normal(width**-0.5),
      )
      for width in (self.vision.width, o.text.width)
    )
    if o.has_strong_projector:
      hidden = (o.projector_hidden,) * 2
      self.visual_strong = Projector(hidden, o.embed_dim)
      self.textual_strong = Projector(hidden, o.embed_dim)
    for modality in MODALITIES.values():
      for name, part in _heads(o).items():
        setattr(self, f"{modality}_{name}", part)
    if o.variant == "swalip_v1":
      # PyTorch's default of a linear layer; only directions matter.
      initializer = nn.initializers.variance_scaling(
        1 / 3, "fan_in", "uniform", in_axis=-1, out_axis=0
      )
      self.param("prototypes", initializer, (o.swap.prototypes, o.swap.out))
    for name, scalar in scalars(o).items():
      self.param(name, nn.initializers.constant(scalar.value), scalar.shape)

  def __call__(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "b l"]
  ) -> Embedded:
    """Embeds a weak and maybe a strong view, to initialise everything."""
    views = 1 + bool(self.options.strong_count)
    return self._embedded([images] * views, [tokens] * views, train=False)

  def in_training(
    self,
    images: Sequence[Float[Array, "b _h _w 3"]],
    tokens: Sequence[Int[Array, "b _l"]],
  ) -> Embedded:
    """Embeds the views of a batch, each with statistics of its own.

    Args:
      images: pixels in [0, 1] of the weak view and of each strong one.
      tokens: token ids, likewise.

    Returns:
      Rows of each view.
    """
    return self._embedded(images, tokens, train=True)

  def encode_image(
    self, images: Float[Array, "b h w 3"]
  ) -> Float[Array, "b width"]:
    """Computes z, and h beside it if there is one, of images."""
    return self._both("image", _float32(self.vision(self._normal(images))))

  def encode_text(self, tokens: Int[Array, "b l"]) -> Float[Array, "b width"]:
    """Computes z, and h beside it if there is one, of token ids."""
    return self._both("text", _float32(self.text(tokens)))

  def _normal(self, images: Array) -> Array:
    o, wide = self.options, (None, None, None)
    mean, std = (
      jnp.asarray(values, images.dtype)[wide]
      for values in (o.pixel_mean, o.pixel_std)
    )
    return (images - mean) / std

  def _part(self, kind: str, name: str) -> Any:
    return getattr(self, f"{MODALITIES[kind]}_{name}")

  def _both(self, kind: str, features: Array) -> Array:
    z = self._part(kind, "proj")(features)
    if not self.options.has_strong_projector:
      return z
    return jnp.concatenate([z, self._part(kind, "strong")(features)], axis=1)

  def _embedded(
    self, images: Sequence[Array], tokens: Sequence[Array], train: bool
  ) -> Embedded:
    views = {
      "image": self._image_features(images, train),
      "text": self._text_features(tokens, train),
    }
    strong = "strong" if self.options.has_strong_projector else "proj"

    def projected(kind: str, number: int, features: Array) -> Array:
      if number and strong == "strong":
        return self._part(kind, strong)(features, train)
      return self._part(kind, "proj")(features)

    z = _of_views(views, projected)
    if self.options.variant not in WITH_HEADS:
      return Embedded(z)
    heads = {
      kind: [self._head(kind, i, x, train) for i, x in enumerate(rows)]
      for kind, rows in views.items()
    }
    v = _of_views(heads, lambda kind, number, x: x)
    if self.options.variant not in SIAMESE:
      return Embedded(z, v)

    def predicted(kind: str, number: int, x: Array) -> Array:
      return self._part(kind, self._name("predictor", number))(x, train)

    return Embedded(z, v, _of_views(heads, predicted))

  def _image_features(
    self, images: Sequence[Array], train: bool
  ) -> list[Array]:
    views, tower = [self._normal(x) for x in images], self.vision
    if isinstance(tower, ResNet):
      return [_float32(tower(x, train)) for x in views]
    return _at_once(tower, views)

  def _text_features(self, tokens: Sequence[Array], train: bool) -> list[Array]:
    weak, *strong = tokens
    found = [_float32(self.text(weak))]
    if strong:
      found += _at_once(lambda x: self.text(x, train), strong)
    return found

  def _name(self, part: str, number: int) -> str:
    """Name of a head for the weak view, 0, or a strong one."""
    own = number and self.options.separate_head
    return f"{part}_strong" if own else part

  def _head(self, kind: str, number: int, x: Array, train: bool) -> Array:
    x = self._part(kind, self._name("head", number))(x, train)
    variant = self.options.variant
    if variant == "barlip":
      return self._part(kind, self._name("norm", number))(x, train)
    if variant in SIAMESE:
      norm = "norm_strong" if number else "norm"
      return self._part(kind, norm)(x, train)
    return x


def _heads(o: Options) -> dict[str, nn.Module]:
  """Heads of one modality beside the projectors, by name."""

  def head() -> dict[str, nn.Module]:
    if o.variant == "barlip":
      hidden = (o.barlow.hidden,) * 2
      return {"head": Projector(hidden, o.barlow.out), "norm": BatchNorm()}
    if o.variant in SIAMESE:
      sizes = (o.siam.hidden,), o.siam.out
      return {
        "head": Projector(*sizes, hidden_bias=False, bias=False),
        "predictor": Projector(*sizes, hidden_bias=False),
      }
    if o.variant == "swalip_v1":
      return {"head": Projector((o.swap.hidden,), o.swap.out)}
    return {}

  found = head()
  if o.separate_head and o.strong_count:
    found |= {f"{name}_strong": part for name, part in head().items()}
  if o.variant in SIAMESE:
    found["norm"] = BatchNorm(affine=False)
    if o.strong_count:
      found["norm_strong"] = BatchNorm(affine=False)
  return found


def _of_views(
  views: Mapping[str, Sequence[Array]],
  function: Callable[[str, int, Array], Array],
) -> Views:
  """Applies a function to (kind, number of the view, rows) of all views."""
  found = {
    kind: [function(kind, number, x) for number, x in enumerate(rows)]
    for kind, rows in views.items()
  }
  weak, *strong = map(Pair, found["image"], found["text"])
  return Views(weak, tuple(strong))


def _at_once(
  tower: Callable[[Array], Array], views: Sequence[Array]
) -> list[Array]:
  """Runs a tower without statistics on all views in one call."""
  stacked = jnp.stack(views, axis=1)
  rows = tower(stacked.reshape(-1, *stacked.shape[2:]))
  by_example = _float32(rows).reshape(-1, len(views), rows.shape[-1])
  return [by_example[:, number] for number in range(len(views))]


def _float32(x: Array) -> Array:
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def encoder(o: Options) -> Encoder:
  """Makes the encoder: rows are z, and h beside it if there is one.

  Args:
    o: options of the system.

  Returns:
    Encoder for training and inference.
  """
  towers: Any = Towers(o)

  def init(key: PRNGKeyArray) -> Variables:
    images = jnp.zeros((1, o.image_size, o.image_size, 3))
    variables = towers.init(key, images, jnp.zeros((1, 1), jnp.int32))
    if o.variant == "byolip":
      variables = {**variables, "ema": jax.tree.map(jnp.copy, variables)}
    return variables

  def rows(method: str):
    def encode(variables: Variables, x: Array) -> Float[Array, "n width"]:
      own = {k: v for k, v in variables.items() if k != "ema"}
      return towers.apply(own, x, method=method)

    return encode

  both = o.has_strong_projector
  return Encoder(
    init=init,
    image=rows("encode_image"),
    text=rows("encode_text"),
    space=lambda params: Ensemble(o.ensemble) if both else Sphere(),
    scale=lambda params: jnp.exp(params["logit_scale"]),
    tokenizer=functools.partial(Tokenizer, o.text.vocab),
    context=o.text.context,
    image_size=o.image_size,
    width=(2 if both else 1) * o.embed_dim,
  )
