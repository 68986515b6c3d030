"""Networks of the classifier: a backbone, and a head that makes logits."""

import dataclasses
import graphlib
import math
from collections.abc import Iterator

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hyperclip_jax.data.embedded.shapes import LEAVES
from hyperclip_jax.files import shown
from hyperclip_jax.nn import hyperbolic
from hyperclip_jax.nn.hyperbolic.resnet import PoincareResNet
from hyperclip_jax.nn.resnet import ResNet
from hyperclip_jax.nn.separation import MaxSeparation
from hyperclip_jax.nn.vit import ViT
from hyperclip_jax.sections import Section, choice, number
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.classifier import labels
from hyperclip_jax.systems.dual_encoder import Vision

BACKBONES = ("vit", "resnet", "poincare_resnet")
HEADS = (
  "linear",
  "max_separation",
  "poincare_mlr",
  "lorentz_mlr",
  "poincare_max_separation",
)
MOST_CLASSES = 65_536


@dataclasses.dataclass(frozen=True)
class Residual(Section):
  """Sizes of the residual networks.

  Attributes:
    depth: layers of Poincare ResNet, 6 n + 2.
    blocks: blocks of each stage of the Euclidean ResNet.
    widths: channels of the stages.
  """

  depth: int = number(20, least=8, most=1_000)
  blocks: tuple[int, ...] = (3, 4, 6, 3)
  widths: tuple[int, ...] = (64, 128, 256, 512)

  def problems(self):
    if self.depth % 6 != 2:
      yield f"depth must be 6 n + 2, such as 20 or 32, found {self.depth}"
    for name in ("blocks", "widths"):
      found = getattr(self, name)
      if not found or not all(0 < n <= dual_encoder.MOST for n in found):
        yield f"{name} must be positive, one for each stage, found {found}"


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options of the classifier.

  Attributes:
    classes: names of the classes.
    parents: pairs of a node and one of its parents, of a hierarchy above the
      classes or below them; none for classes without one.
    image_size: side of an image in pixels.
    backbone: "vit", "resnet" (Euclidean bottlenecks) or "poincare_resnet",
      whose features are tangent vectors at the root.
    vision: sizes of the ViT.
    resnet: sizes of the residual networks.
    head: "linear" (for Poincare ResNet its own dense layer), the logits of
      hyperplanes in either model, or fixed, maximally separated directions,
      flat or as hyperplanes.
    radius: scale of the logits of maximum separation.
    curv: c of the hyperbolic layers, where the curvature is -c.
    dtype: dtype of the backbone; everything else is float32.
    pixel_mean: mean of pixels in [0, 1], which is subtracted.
    pixel_std: standard deviation, by which the difference is divided.
  """

  classes: tuple[str, ...] = LEAVES
  parents: tuple[tuple[str, ...], ...] = ()
  image_size: int = number(224, most=dual_encoder.MOST)
  backbone: str = choice("vit", BACKBONES)
  vision: Vision = dataclasses.field(default_factory=Vision)
  resnet: Residual = Residual()
  head: str = choice("linear", HEADS)
  radius: float = number(1.0, most=1e3)
  curv: float = number(0.1, least=1e-3, most=1e3)
  dtype: str = choice("bfloat16", ("float32", "bfloat16"))
  pixel_mean: tuple[float, ...] = dual_encoder.IMAGENET_MEAN
  pixel_std: tuple[float, ...] = dual_encoder.IMAGENET_STD

  def problems(self):
    if self.backbone == "vit":
      yield from dual_encoder.patch_problems(self.image_size, self.vision.patch)
    plain = [labels.plain(name) for name in self.classes]
    if not 2 <= len({*plain}) == len(plain) <= MOST_CLASSES or "" in plain:
      yield (
        f"classes must be 2 to {MOST_CLASSES:,} different names, found "
        f"{len(plain)} with {len({*plain})} different ones"
      )
    yield from self._parent_problems()
    for name, least in (("pixel_mean", -math.inf), ("pixel_std", 0.0)):
      value = getattr(self, name)
      if len(value) != 3 or not all(least < v < math.inf for v in value):
        yield f"{name} must be three numbers, found {value}"
    sizes = self.resnet
    if self.backbone == "resnet" and len(sizes.blocks) != len(sizes.widths):
      yield (
        f"resnet.widths must be one for each of the {len(sizes.blocks)} stages "
        f"of resnet.blocks, found {sizes.widths}"
      )

  def _parent_problems(self) -> Iterator[str]:
    for pair in self.parents:
      if len(pair) != 2 or not all(map(labels.plain, pair)):
        yield f"parents must be pairs of a node and its parent, found {pair}"
        return
    above = labels.parents(self.classes, self.parents)
    if len({*map(labels.plain, above)}) < len(above):
      yield "parents must have one spelling for each node"
    try:
      graphlib.TopologicalSorter(above).prepare()
    except graphlib.CycleError as error:
      cycle = shown(" -> ".join(map(str, error.args[1])))
      yield f"parents must have no cycle, found {cycle}"


class Classifier(nn.Module):
  """Maps images to logits.

  Attributes:
    o: options.
  """

  o: Options

  @nn.compact
  def __call__(
    self, images: Float[Array, "b h w 3"], train: bool
  ) -> Float[Array, "b classes"]:
    """Computes logits of images with pixels in [0, 1].

    Args:
      images: pixels.
      train: whether batch norms use the statistics of the batch.

    Returns:
      Logits, in float32 or better.
    """
    o = self.o
    mean, std = (
      jnp.asarray(x, images.dtype)[None, None, None]
      for x in (o.pixel_mean, o.pixel_std)
    )
    features = self._features((images - mean) / std, train)
    return _Head(o, name="head")(dual_encoder.at_least_float32(features))

  def _features(self, images, train):
    o, dtype = self.o, jnp.dtype(self.o.dtype)
    if o.backbone == "poincare_resnet":
      return PoincareResNet(
        inputs(o),
        o.resnet.depth,
        o.resnet.widths,
        dtype=dtype,
        name="backbone",
      )(images, o.curv, train)
    if o.backbone == "resnet":
      return ResNet(
        o.resnet.blocks, o.resnet.widths, dtype=dtype, name="backbone"
      )(images, train)
    sizes = dataclasses.asdict(o.vision)
    return ViT(**sizes, dtype=dtype, name="backbone")(images)


class _Head(nn.Module):
  """Maps features to logits; those of Poincare ResNet are of the right width.

  Attributes:
    o: options.
  """

  o: Options

  @nn.compact
  def __call__(self, x):
    o, classes = self.o, len(self.o.classes)
    if o.backbone != "poincare_resnet":
      # Features of layer norms have a length of about sqrt(width).
      x = x * x.shape[-1] ** -0.5 if o.head.endswith("mlr") else x
      x = x if o.head.endswith("mlr") else nn.Dense(inputs(o))(x)
    if o.head == "linear":
      return x
    if o.head == "max_separation":
      return MaxSeparation(classes, o.radius)(x)
    point = hyperbolic.from_tangent(x, o.curv)
    if o.head == "poincare_max_separation":
      return hyperbolic.MaxSeparationMLR(classes, o.radius)(point, o.curv)
    mlr = {
      "poincare_mlr": hyperbolic.PoincareMLR,
      "lorentz_mlr": hyperbolic.LorentzMLR,
    }[o.head]
    return mlr(classes)(point, o.curv)


def inputs(o: Options) -> int:
  """Width of the features that a head takes."""
  if o.head == "linear":
    return len(o.classes)
  return o.resnet.widths[-1] if o.head.endswith("mlr") else len(o.classes) - 1
