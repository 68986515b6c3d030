"""Options of CLIP-Rocket and its variants."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hyperclip_jax.data.feed.distortions import Options as Distortions
from hyperclip_jax.data.feed.text_edits import Options as TextEdits
from hyperclip_jax.sections import Section, choice, number, switch
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.sizes import VIT

# Which views, heads and losses a variant has beside the weak contrast.
VARIANTS = (
  "clip",
  "clip_rocket",
  "barlip",
  "siamlip",
  "byolip",
  "swalip",
  "swalip_v1",
)
WEAK_ONLY = ("clip", "swalip_v1")
SIAMESE = ("siamlip", "byolip")
WITH_HEADS = ("barlip", *SIAMESE, "swalip_v1")


# Colours and blur of strong views, as of SimCLR (Chen et al., 2020).
SIMCLR = Distortions(
  flip=0.5,
  jitter=0.8,
  brightness=0.4,
  contrast=0.4,
  saturation=0.4,
  hue=0.1,
  grayscale=0.2,
  blur=0.5,
  blur_form="boxes",
)
# The two strong views of BYOL (Grill et al., 2020).
_BYOL = dataclasses.replace(SIMCLR, saturation=0.2)
BYOL = (
  dataclasses.replace(_BYOL, blur=1.0),
  dataclasses.replace(_BYOL, blur=0.1, solarize=0.2),
)
_TRAINING = {"training": True}  # of fields that matter in training alone


@dataclasses.dataclass(frozen=True)
class Vision(dual_encoder.Vision):
  """Sizes of the image tower, of one kind or the other.

  Attributes:
    tower: "vit", by the sizes of `dual_encoder.Vision` and with learned
      positions, or "resnet", by the two sizes that follow.
    blocks: blocks of each stage of the ResNet; those of ResNet-50.
    widths: widths of the blocks of each stage.
  """

  tower: str = choice("vit", ("vit", "resnet"))
  blocks: tuple[int, ...] = (3, 4, 6, 3)
  widths: tuple[int, ...] = (64, 128, 256, 512)

  def __str__(self) -> str:
    """Formats the sizes for reports."""
    if self.tower == "vit":
      return super().__str__()
    layers = 3 * sum(self.blocks) + 2  # with the first one and a classifier
    return f"ResNet-{layers} of width {4 * self.widths[-1]}"

  def problems(self):
    yield from super().problems()
    stages = len(self.blocks)
    if not 1 <= stages <= 8 or min(self.blocks) < 1 or sum(self.blocks) > 512:
      yield f"blocks must be 1 to 8 positive numbers, found {self.blocks}"
    if len(self.widths) != stages or not all(
      0 < width <= dual_encoder.MOST for width in self.widths
    ):
      yield (
        f"widths must be positive numbers, one for each of the {stages} "
        f"stages of blocks, found {self.widths}"
      )


@dataclasses.dataclass(frozen=True)
class Text(dual_encoder.Text):
  """Sizes of the text tower.

  Attributes:
    dropout: rate of the dropout at each block, in strong views alone.
  """

  dropout: float = number(0.0, least=0, most=0.9, training=True)


@dataclasses.dataclass(frozen=True)
class Strong(Section):
  """Strong views of images and texts.

  Attributes:
    count: strong views of an example.
    crop_scale: smallest and largest share of a picture that a crop keeps.
    kind: "alike" for views of the same `distortions`, or "byol" for the two
      unlike views of BYOL.
    distortions: random changes of the pixels, where the views are alike.
    image_size: side of the views in pixels; 0 for that of weak ones.
  """

  count: int = number(2, least=0, most=16, training=True)
  crop_scale: tuple[float, ...] = (0.08, 1.0)
  kind: str = choice("alike", ("alike", "byol"), training=True)
  distortions: Distortions = SIMCLR
  image_size: int = number(0, least=0, most=dual_encoder.MOST, training=True)

  def problems(self):
    scale = self.crop_scale
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
      yield (
        f"crop_scale must be two fractions in ascending order, found {scale}"
      )
    if self.kind == "byol" and self.count != 2:
      yield f"count must be 2 for the views of byol, found {self.count}"


@dataclasses.dataclass(frozen=True)
class Captions(Section):
  """Captions that views show.

  Attributes:
    fields: fields of a record's JSON that hold a caption, or a list of them;
      () for the caption of the record.
    draw: "multi" draws a caption for each view, "single" one for all.
  """

  fields: tuple[str, ...] = ()
  draw: str = choice("multi", ("multi", "single"))


@dataclasses.dataclass(frozen=True)
class Barlow(Section):
  """BarLIP: cross-modal Barlow Twins.

  Attributes:
    hidden: width of the two hidden layers of a head.
    out: number of features that are decorrelated.
    off_diagonal: weight of redundancy between features.
    weight: weight of the loss.
    grad: "true", or "official" for the gradient of the published code, which
      divides it by the number of devices.
  """

  hidden: int = number(3_000, most=dual_encoder.MOST)
  out: int = number(8_192, most=dual_encoder.MOST)
  off_diagonal: float = number(0.005, least=0, training=True)
  weight: float = number(0.025, least=0, training=True)
  grad: str = choice("true", ("true", "official"), training=True)


@dataclasses.dataclass(frozen=True)
class Siam(Section):
  """SiamLIP and BYOLIP: predictions across modalities, without negatives.

  Attributes:
    hidden: width of the hidden layer of heads and predictors.
    out: width of their results.
    decay: decay of the moving average of BYOLIP's target model.
  """

  hidden: int = number(2_048, most=dual_encoder.MOST)
  out: int = number(128, most=dual_encoder.MOST)
  decay: float = number(0.99, least=0, most=1, training=True)


@dataclasses.dataclass(frozen=True)
class Swap(Section):
  """SwALIP and its first version: swapped Sinkhorn assignments.

  Attributes:
    weight: weight of the loss.
    epsilon: temperature of the targets.
    iterations: iterations of Sinkhorn's algorithm.
    hidden: width of the hidden layer of the first version's heads.
    out: width of its prototypes.
    prototypes: number of its prototypes.
    scale: factor of its cosines that predict.
    frozen: steps for which its prototypes get no gradient.
  """

  weight: float = number(0.2, least=0, training=True)
  epsilon: float = number(0.05, training=True)
  iterations: int = number(3, most=100, training=True)
  hidden: int = number(2_048, most=dual_encoder.MOST)
  out: int = number(128, most=dual_encoder.MOST)
  prototypes: int = number(3_000, most=1_000_000)
  scale: float = number(10.0, training=True)
  frozen: int = number(100, least=0, training=True)


@dataclasses.dataclass(frozen=True)
class Options(dual_encoder.Options):
  """Options of CLIP-Rocket and its variants.

  Attributes:
    variant: losses beside the contrast of weak views. "clip" has none;
      "clip_rocket" contrasts strong views, too; "barlip", "siamlip", "byolip"
      and "swalip" add a loss to it; "swalip_v1" adds prototypes to "clip".
    vision: sizes of the image tower.
    text: sizes of the text tower.
    embed_dim: width of the space of a projector.
    separate_proj: whether strong views have projectors and a scale of their
      own.
    projector_hidden: width of the two hidden layers of strong projectors.
    separate_head: whether strong views have heads of their own in BarLIP,
      SiamLIP and BYOLIP.
    ensemble: weight w of weak projectors in use: an image and a text are as
      near as w cos(z) + (1 - w) cos(h).
    strong: strong views.
    captions: captions that views show.
    edits: edits of texts.
    smoothing: label smoothing of strong pairs; SwALIP takes none.
    reduction: "sum" doubles the contrastive loss, "avg" does not.
    gather_grad: "full", or "query" for the gradient of the published code on
      several devices, whose candidates are constants.
    barlow: options of BarLIP.
    siam: options of SiamLIP and BYOLIP.
    swap: options of SwALIP and its first version.
  """

  variant: str = choice("clip_rocket", VARIANTS)
  vision: Vision = Vision()
  text: Text = Text()
  embed_dim: int = number(256, most=dual_encoder.MOST)
  separate_proj: bool = switch(True)
  projector_hidden: int = number(4_096, most=dual_encoder.MOST)
  separate_head: bool = switch(False)
  ensemble: float = number(0.5, least=0, most=1)
  strong: Strong = dataclasses.field(default=Strong(), metadata=_TRAINING)
  captions: Captions = dataclasses.field(default=Captions(), metadata=_TRAINING)
  edits: TextEdits = dataclasses.field(default=TextEdits(), metadata=_TRAINING)
  smoothing: float = number(0.1, least=0, most=1, training=True)
  reduction: str = choice("avg", ("avg", "sum"), training=True)
  gather_grad: str = choice("full", ("full", "query"), training=True)
  barlow: Barlow = Barlow()
  siam: Siam = Siam()
  swap: Swap = Swap()

  @property
  def strong_count(self) -> int:
    """Number of strong views."""
    return 0 if self.variant in WEAK_ONLY else self.strong.count

  @property
  def has_strong_projector(self) -> bool:
    """Whether h comes from a projector of its own."""
    return bool(self.strong_count) and self.separate_proj

  @property
  def keeps_statistics(self) -> bool:
    """Whether a layer keeps statistics of batches."""
    resnet, heads = self.vision.tower == "resnet", self.variant in WITH_HEADS
    return resnet or heads or self.has_strong_projector

  def problems(self):
    vit = self.vision.tower == "vit"
    for problem in super().problems():
      if vit or "patch" not in problem:
        yield problem
    size = self.strong.image_size
    if vit and size not in (0, self.image_size):
      yield (
        f"strong.image_size must be 0 or {self.image_size}, as a ViT's learned "
        f"positions are of one size, found {size}"
      )
    if self.variant == "swalip":
      if self.strong.count != 2:
        yield (
          "strong.count must be 2 for swalip, whose two views swap their "
          f"targets, found {self.strong.count}"
        )
      if self.smoothing:
        yield f"smoothing must be 0 for swalip, found {self.smoothing}"


# Image towers of the paper; the recipes train S/16 with 12 heads ("MOCO").
TOWERS: Mapping[str, Mapping[str, Any]] = {
  "r50": {"tower": "resnet"},
  "vits16": VIT["S"],
  "vits16_6": VIT["S"] | {"heads": 6},
  "vits32": VIT["S"] | {"heads": 6, "patch": 32},
  "vitb16": VIT["B"],
  "vitb32": VIT["B"] | {"patch": 32},
  "vitl16": VIT["L"],
}
