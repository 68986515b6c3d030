"""Options of ProLIP."""

import dataclasses
import math

from hyperclip_jax.nn.transformer import ACTIVATIONS, REMAT
from hyperclip_jax.sections import Section, choice, file, number, switch
from hyperclip_jax.systems.dual_encoder import (
  CLIP_MEAN,
  CLIP_STD,
  MOST,
  Blocks,
  patch_problems,
)

TOKENIZER = "tokenizer.json"  # beside a model
FORMS = ("exact", "reference")


@dataclasses.dataclass(frozen=True)
class Vision(Blocks):
  """Sizes of the image tower; see `towers.ImageTower`."""

  patch: int = number(16, most=MOST)
  mlp_ratio: float = number(4.0, least=0.01, most=100)

  def __str__(self) -> str:
    """Formats the sizes for reports."""
    return f"{super().__str__()}, patches of {self.patch} px"


@dataclasses.dataclass(frozen=True)
class Text(Blocks):
  """Sizes of the text tower; see `towers.TextTower`.

  Attributes:
    mask_id: token that stands for masked ones, an unused one of SigLIP's.
  """

  vocab: int = number(49_408, most=1_000_000)
  context: int = number(64, most=MOST)
  mlp_ratio: float = number(4.0, least=0.01, most=100)
  norm_eps: float = number(1e-6, most=1)
  mask_id: int = number(32_000, least=0, training=True)

  def problems(self):
    yield from super().problems()
    if self.mask_id >= self.vocab:
      yield (
        f"mask_id must be less than the vocab {self.vocab}, "
        f"found {self.mask_id}"
      )


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options of ProLIP.

  Attributes:
    image_size: side of an image in pixels.
    vision: sizes of the image tower.
    text: sizes of the text tower.
    embed_dim: dimensions D of a Gaussian; an embedding has 2 D numbers.
    tokenizer: a tokenizer.json of SigLIP's kind, a path or
      "hf-hub:org/name"; "" is CLIP's tokenizer.
    activation: activation of the MLPs.
    text_unc_readout: what the log variances of texts are read from: "mean", as
      published models do, or "unc", the token of that name.
    initial_log_var: log variances at the start of training.
    dtype: dtype of the towers' blocks; everything else is float32.
    remat: what the backward pass of a block recomputes, to save memory.
    unroll: whether to compile each block by itself instead of one loop, which
      saves memory (see docs/performance.md).
    contrast: "naive" keeps all logits, in memory quadratic in the batch;
      "tiled" computes them twice, in linear memory; "auto" chooses by number.
    pixel_mean: mean of pixels in [0, 1], which is subtracted.
    pixel_std: standard deviation, by which the difference is divided.
    pair_weight: weight of the sigmoid loss of pairs (PPCL).
    inclusion_weight: weight of images in their texts (alpha 1).
    masked_weight: weight of images and texts in their masked forms (alpha 2);
      0 leaves the masked passes out.
    bottleneck_weight: weight of the divergence from N(0, 1) (beta).
    regulariser_scale: factor of the weights of inclusion, masks and bottleneck.
      The official code repeats these terms on each of the 32 GPUs of the
      published B/16, for the most part on pairs that do not belong together; 32
      has as much weight on true pairs.
    inclusion_eps: eps of the inclusion test; see `losses.inclusion`.
    inclusion_slope: slope c of the inclusion loss.
    inclusion_form: "exact", or "reference" as in the official code.
    bottleneck_form: "exact", or "reference" as in the official code.
    guards: "reference" replaces inclusion terms above 1e5 and divergences
      above 1e4 by 0, as in the official code; "off" leaves them. Either way the
      metric "guarded" counts them.
    masked_share: share of the examples that are masked.
    text_mask: probability of masking a token.
    image_keep_ratio: share of the patches that stay: 0.75 in the official code,
      0.25 in the paper.
  """

  image_size: int = number(224, most=MOST)
  vision: Vision = Vision()
  text: Text = Text()
  embed_dim: int = number(768, most=MOST)
  tokenizer: str = file(TOKENIZER)
  activation: str = choice("gelu", tuple(ACTIVATIONS))
  text_unc_readout: str = choice("mean", ("mean", "unc"))
  initial_log_var: float = number(-10.0, least=-60, most=60, training=True)
  dtype: str = choice("bfloat16", ("float32", "bfloat16"))
  remat: str = choice("none", REMAT, training=True)
  unroll: bool = switch(False, training=True)
  contrast: str = choice("auto", ("auto", "naive", "tiled"), training=True)
  pixel_mean: tuple[float, ...] = CLIP_MEAN
  pixel_std: tuple[float, ...] = CLIP_STD
  pair_weight: float = number(1.0, least=0, training=True)
  inclusion_weight: float = number(1e-7, least=0, training=True)
  masked_weight: float = number(1e-3, least=0, training=True)
  bottleneck_weight: float = number(1e-4, least=0, training=True)
  regulariser_scale: float = number(1.0, least=0, training=True)
  inclusion_eps: float = number(-20.0, least=-1e3, most=0, training=True)
  inclusion_slope: float = number(1e3, training=True)
  inclusion_form: str = choice("exact", FORMS, training=True)
  bottleneck_form: str = choice("exact", FORMS, training=True)
  guards: str = choice("off", ("off", "reference"), training=True)
  masked_share: float = number(0.125, least=0, most=1, training=True)
  text_mask: float = number(0.75, least=0, most=1, training=True)
  image_keep_ratio: float = number(0.75, most=1, training=True)

  def problems(self):
    yield from patch_problems(self.image_size, self.vision.patch)
    if self.text_unc_readout == "mean" and self.text.width != self.embed_dim:
      yield (
        f"text.width must be the embed_dim {self.embed_dim} with "
        "text_unc_readout='mean', which reads log variances from the mean, "
        f'found {self.text.width}: set one to the other, or take "unc"'
      )
    if self.unroll and self.remat != "none":
      yield (
        f"unroll must be False with remat={self.remat!r}, found True: XLA "
        "would merge what is computed twice"
      )
    for name, least in (("pixel_mean", -math.inf), ("pixel_std", 0.0)):
      value = getattr(self, name)
      if len(value) != 3 or not all(least < v < math.inf for v in value):
        yield f"{name} must be three numbers, found {value}"
