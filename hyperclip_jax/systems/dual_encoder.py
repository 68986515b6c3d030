"""Two towers with projections, the encoder that most systems share."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.feed.views import Display
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.nn import gradients
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.transformer import REMAT
from hyperclip_jax.nn.vit import STEMS, ViT
from hyperclip_jax.sections import Section, choice, number, switch
from hyperclip_jax.systems.sizes import VIT
from hyperclip_jax.systems.task import (
  Batch,
  Encoder,
  Rules,
  Task,
  Variables,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# of OpenAI's CLIP
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# With larger sizes JAX would run for hours before it is out of memory.
MOST, MOST_LAYERS, MOST_PATCHES = 65_536, 512, 16_384

# Megatron's split (Shoeybi et al., 2019) of the blocks, columns and then rows;
# the first axis is the scanned depth.
MODEL_PARALLEL = {
  "qkv/kernel": PartitionSpec(None, None, "model"),
  "qkv/bias": PartitionSpec(None, "model"),
  "out/kernel": PartitionSpec(None, "model", None),
  "fc1/kernel": PartitionSpec(None, None, "model"),
  "fc1/bias": PartitionSpec(None, "model"),
  "fc2/kernel": PartitionSpec(None, "model", None),
}
# Leaf names of two-dimensional parameters (three with the scanned depth).
MATRICES = ("kernel", "embedding", "position_embed")


@dataclasses.dataclass(frozen=True)
class Blocks(Section):
  """Sizes of the blocks of a tower, by default those of ViT-B."""

  width: int = number(VIT["B"]["width"], most=MOST)
  depth: int = number(VIT["B"]["depth"], most=MOST_LAYERS)
  heads: int = number(VIT["B"]["heads"], most=MOST)

  def __str__(self) -> str:
    """Formats the sizes for reports."""
    layers = "1 layer" if self.depth == 1 else f"{self.depth} layers"
    return f"{layers} of {self.width}"

  def problems(self):
    if self.width % self.heads:
      yield f"heads must divide the width {self.width}, found {self.heads}"


@dataclasses.dataclass(frozen=True)
class Vision(Blocks):
  """Sizes of the image tower; see `nn.vit.ViT`."""

  patch: int = number(VIT["B"]["patch"], most=MOST)
  init_std: float = number(0.02, training=True)
  stem: str = choice("pixels", STEMS)

  def __str__(self) -> str:
    """Formats the sizes for reports."""
    of = "" if self.stem == "pixels" else f" as {self.stem}"
    return f"{super().__str__()}, patches of {self.patch} px{of}"

  def problems(self):
    yield from super().problems()
    if self.width % 4:
      yield f"width must be a multiple of 4, found {self.width}"
    if self.stem == "gradients" and self.patch % gradients.CELL:
      yield (
        f"patch must be a multiple of the {gradients.CELL} pixels of a cell "
        f"with stem='gradients', found {self.patch}"
      )


@dataclasses.dataclass(frozen=True)
class Text(Blocks):
  """Sizes of the text tower; see `nn.text.TextTransformer`."""

  width: int = number(512, most=MOST)
  heads: int = number(8, most=MOST)
  vocab: int = number(49_408, most=MOST)
  context: int = number(77, most=MOST)


def patch_problems(image_size: int, patch: int) -> Iterator[str]:
  """Checks that images are cut into patches, and not into too many.

  Args:
    image_size: side of an image in pixels.
    patch: side of a patch in pixels.

  Yields:
    What is wrong.
  """
  side, rest = divmod(image_size, patch)
  if rest:
    yield (
      f"image_size must be a multiple of the patch {patch}, found {image_size}"
    )
  elif side**2 > MOST_PATCHES:
    yield (
      f"image_size must be at most {MOST_PATCHES:,} patches of {patch} pixels, "
      f"found {image_size}"
    )


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options that all systems of two towers share.

  Attributes:
    image_size: side of an image in pixels.
    vision: sizes of the image tower.
    text: sizes of the text tower.
    embed_dim: width of the shared space.
    dtype: dtype of the towers; everything else is float32.
    remat: what the backward pass of a block recomputes, to save memory.
    unroll: whether to compile each block by itself instead of one loop, which
      saves memory (see docs/performance.md).
    contrast: "naive" keeps all logits, in memory quadratic in the batch;
      "tiled" computes them twice, in linear memory; "auto" chooses by number.
    pixel_mean: mean of pixels in [0, 1], which is subtracted.
    pixel_std: standard deviation, by which the difference is divided.
  """

  image_size: int = number(224, most=MOST)
  vision: Vision = Vision()
  text: Text = Text()
  embed_dim: int = number(512, most=MOST)
  dtype: str = choice("bfloat16", ("float32", "bfloat16"))
  remat: str = choice("none", REMAT, training=True)
  unroll: bool = switch(False, training=True)
  contrast: str = choice("auto", ("auto", "naive", "tiled"), training=True)
  pixel_mean: tuple[float, ...] = IMAGENET_MEAN
  pixel_std: tuple[float, ...] = IMAGENET_STD

  def problems(self):
    yield from patch_problems(self.image_size, self.vision.patch)
    if self.unroll and self.remat != "none":
      yield (
        f"unroll must be False with remat={self.remat!r}, found True: XLA "
        "would merge what is computed twice"
      )
    for name, least in (("pixel_mean", -math.inf), ("pixel_std", 0.0)):
      value = getattr(self, name)
      if len(value) != 3 or not all(least < v < math.inf for v in value):
        yield f"{name} must be three numbers, found {value}"


class Scalar(NamedTuple):
  """Trained scalar that is stored as a logarithm and never decays.

  Attributes:
    value: initial value of the logarithm.
    low: lower bound of the exponential.
    high: upper bound of the exponential.
    shape: shape of the parameter; () for one number.
    shown: whether the exponential is a metric.
  """

  value: float
  low: float
  high: float
  shape: tuple[int, ...] = ()
  shown: bool = True


# The scale of logits stays below 100, the curvature within a factor of 10 of
# its initial 1, and features are never enlarged (MERU, Desai et al., 2023).
CURV_RANGE = (0.1, 10.0)
LOGIT_SCALE = {"logit_scale": Scalar(math.log(1 / 0.07), 0.0, 100.0)}


def hyperbolic_scalars(
  width: int,
  factors: tuple[int, ...] = (),
  curv_range: tuple[float, ...] = CURV_RANGE,
  init_radius: float = 1.0,
) -> dict[str, Scalar]:
  """Lists the scalars of a hyperbolic model: temperature, curvature, alphas.

  Args:
    width: width of a point, in one space.
    factors: (number,) of spaces in a product, which have scalars of their own.
    curv_range: bounds of the curvature, which starts at 1 or the bound that is
      nearer; equal ones fix it.
    init_radius: distance from the root, about, at which points start.

  Returns:
    Scalars by name; the alphas scale features before the lift.
  """
  low, high = curv_range
  start = math.log(init_radius) - math.log(width) / 2
  alpha = Scalar(start, 0.0, 1.0, factors, shown=False)
  return LOGIT_SCALE | {
    "curv": Scalar(math.log(min(max(1.0, low), high)), low, high, factors),
    "visual_alpha": alpha,
    "textual_alpha": alpha,
  }


class DualEncoder(nn.Module):
  """Flax module of the towers, their projections and the scalars.

  Parameters are float32 and the towers compute in their `dtype`; projections
  and scalars are float32.

  Attributes:
    vision: image tower.
    text: text tower.
    embed_dim: width D of the shared space.
    scalars: (name, value, shape) of each scalar parameter.
    pixel_mean: subtracted from pixels in [0, 1].
    pixel_std: divides pixels after that.
    bias: whether the projections have biases.
  """

  vision: ViT
  text: TextTransformer
  embed_dim: int
  scalars: tuple[tuple[str, float, tuple[int, ...]], ...]
  pixel_mean: tuple[float, ...] = IMAGENET_MEAN
  pixel_std: tuple[float, ...] = IMAGENET_STD
  bias: bool = False

  def setup(self):
    def projection(width):
      initializer = nn.initializers.normal(width**-0.5)
      return nn.Dense(
        self.embed_dim, use_bias=self.bias, kernel_init=initializer
      )

    self.visual_proj = projection(self.vision.width)
    self.textual_proj = projection(self.text.width)
    for name, value, shape in self.scalars:
      self.param(name, nn.initializers.constant(value), shape)

  def __call__(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "c l"]
  ) -> tuple[Float[Array, "b dim"], Float[Array, "c dim"]]:
    """Embeds images and texts; used to initialise all parameters."""
    return self.encode_image(images), self.encode_text(tokens)

  def encode_image(
    self, images: Float[Array, "b h w 3"]
  ) -> Float[Array, "b dim"]:
    """Computes projected features of images with pixels in [0, 1]."""
    return self.visual_proj(at_least_float32(self.vision(self.scaled(images))))

  def scaled(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Subtracts the mean from pixels in [0, 1], and divides by the std."""
    mean = jnp.asarray(self.pixel_mean, images.dtype)[None, None, None]
    std = jnp.asarray(self.pixel_std, images.dtype)[None, None, None]
    return (images - mean) / std

  def encode_text(self, tokens: Int[Array, "b l"]) -> Float[Array, "b dim"]:
    """Computes projected features of token ids."""
    return self.textual_proj(at_least_float32(self.text(tokens)))


def module(o: Options, scalars: Mapping[str, Scalar]) -> DualEncoder:
  """Makes the Flax module.

  Args:
    o: options of the towers.
    scalars: scalar parameters by name.

  Returns:
    Module without parameters.
  """
  dtype = jnp.dtype(o.dtype)
  blocks = {"dtype": dtype, "remat": o.remat, "unroll": o.unroll}
  return DualEncoder(
    vision=ViT(**dataclasses.asdict(o.vision), **blocks),
    text=TextTransformer(**dataclasses.asdict(o.text), **blocks),
    embed_dim=o.embed_dim,
    scalars=tuple((n, s.value, s.shape) for n, s in scalars.items()),
    pixel_mean=tuple(map(float, o.pixel_mean)),
    pixel_std=tuple(map(float, o.pixel_std)),
  )


def encoder(
  o: Options,
  space: Callable[[PyTree], Space],
  scalars: Mapping[str, Scalar] = LOGIT_SCALE,
  towers: Any = None,
) -> Encoder:
  """Makes an encoder of two towers that embed in a space.

  Features of images are multiplied by exp(visual_alpha), and those of texts by
  exp(textual_alpha), if there are such scalars (MERU, Desai et al., 2023). With
  several of them, each is for an equal part of the columns.

  Args:
    o: options of the towers.
    space: params -> space of the embeddings.
    scalars: scalar parameters by name, besides those of the towers.
    towers: Flax module with the methods of `DualEncoder`; None makes one.

  Returns:
    Encoder for training and inference.
  """
  towers = module(o, scalars) if towers is None else towers

  def init(key: PRNGKeyArray) -> Variables:
    images = jnp.zeros((1, o.image_size, o.image_size, 3))
    return towers.init(key, images, jnp.zeros((1, 1), jnp.int32))

  def embed(method: str, alpha: str):
    def rows(variables: Variables, x: Array) -> Float[Array, "n dim"]:
      features = towers.apply(variables, x, method=method)
      if alpha not in scalars:
        return features
      factor = jnp.exp(variables["params"][alpha])
      if factor.ndim:
        factor = jnp.repeat(factor, o.embed_dim // len(factor))[None, :]
      return factor * features

    return rows

  return Encoder(
    init=init,
    image=embed("encode_image", "visual_alpha"),
    text=embed("encode_text", "textual_alpha"),
    space=space,
    scale=lambda params: jnp.exp(params["logit_scale"]),
    tokenizer=functools.partial(Tokenizer, o.text.vocab),
    context=o.text.context,
    image_size=o.image_size,
    width=o.embed_dim,
  )


def with_loss(
  e: Encoder,
  loss: Callable[[PyTree, PyTree, Array], tuple[Float[Array, ""], dict]],
  scalars: Mapping[str, Scalar],
  display: Display,
) -> Task:
  """Makes a task from an encoder of two towers and a loss.

  Outputs are {"image", "text"} for each view, points of the space, and "valid"
  if the batch has it.

  Args:
    e: encoder of two towers.
    loss: (params, outputs, step) -> loss and its terms.
    scalars: scalar parameters of `e`, besides those of the towers.
    display: what a batch shows of a record.

  Returns:
    Task for the trainer.
  """
  counts = {name: view.count for name, view in display.views.items()}

  def loss_and_scalars(params, outputs, step):
    value, terms = loss(params, outputs, step)
    shown = {n: jnp.exp(params[n]) for n, s in scalars.items() if s.shown}
    return value, terms | {
      name: jnp.mean(x) if x.ndim else x for name, x in shown.items()
    }

  def project(variables: Variables) -> Variables:
    params = variables["params"]
    bounded = {
      name: jnp.clip(params[name], _log(s.low), _log(s.high))
      for name, s in scalars.items()
    }
    return {**variables, "params": {**params, **bounded}}

  return Task(
    **display._asdict(),
    init=e.init,
    embed=functools.partial(embed, e, counts),
    loss=loss_and_scalars,
    project=project,
    rules=Rules(
      matrices=MATRICES,
      scalars=tuple(scalars),
      split=MODEL_PARALLEL,
      bounds={
        n: (s.low, s.high)
        for n, s in scalars.items()
        if s.shown and s.low < s.high
      },
    ),
  )


def embed(
  e: Encoder,
  counts: Mapping[str, int],
  variables: Variables,
  batch: Batch,
  key: PRNGKeyArray,
) -> tuple[dict[str, dict[str, Array]], Variables]:
  """Points of the images and texts of each view.

  A tower runs once for all views whose arrays are alike but for their rows.

  Args:
    e: the towers.
    counts: view -> rows an example.
    variables: of the towers.
    batch: views with "image", "text" and maybe "valid".
    key: not used, as nothing is random here.

  Returns:
    View -> {"image": (rows, dim), "text": (rows, dim)}, with "valid" where the
    batch has it; and the variables as they are.
  """
  del key
  outputs: dict[str, dict[str, Array]] = {
    name: {"valid": view["valid"]} if "valid" in view else {}
    for name, view in batch.items()
  }
  for kind, tower in (("image", e.image), ("text", e.text)):
    rows = {name: view[kind] for name, view in batch.items() if kind in view}
    for names in _alike(rows):
      sizes = [counts[name] for name in names]
      together = _interleave([rows[name] for name in names], sizes)
      points = e.space(variables["params"]).lift(tower(variables, together))
      for name, part in zip(names, _deal(points, sizes), strict=True):
        outputs[name][kind] = part
  return outputs, variables


def _alike(rows: Mapping[str, Array]) -> list[list[str]]:
  """Names of arrays that differ in their number of rows alone, in groups."""
  groups: dict[tuple[int, ...], list[str]] = {}
  for name, array in rows.items():
    groups.setdefault(array.shape[1:], []).append(name)
  return list(groups.values())


def _interleave(arrays: Sequence[Array], counts: Sequence[int]) -> Array:
  """Rows example by example, so that sharded rows stay where they are.

  Args:
    arrays: (B * count, ...) each.
    counts: rows an example of each array.
  """
  if len(arrays) == 1:
    return arrays[0]
  by_example = [
    x.reshape(-1, count, *x.shape[1:])
    for x, count in zip(arrays, counts, strict=True)
  ]
  both = jnp.concatenate(by_example, axis=1)
  return both.reshape(-1, *both.shape[2:])


def _deal(
  points: Float[Array, "rows dim"], counts: Sequence[int]
) -> list[Float[Array, "_ dim"]]:
  """Undoes `_interleave`."""
  if len(counts) == 1:
    return [points]
  by_example = points.reshape(-1, sum(counts), points.shape[-1])
  ends = np.cumsum(counts)
  return [
    by_example[:, end - count : end].reshape(-1, points.shape[-1])
    for end, count in zip(ends.tolist(), counts, strict=True)
  ]


def _log(x: float) -> float:
  return math.log(x) if x > 0 else -math.inf


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """Casts bfloat16 to float32; wider floats stay."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
