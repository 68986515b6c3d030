"""Towers of ProLIP, which embed images and texts as Gaussians.

Each has two tokens of its own: CLS for the mean, UNC for the log variances
(Chun et al., 2025, Sec. 3.1). Rows are [mean | log variance], before the mean
is scaled to unit length.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.nn.initializers import fan_in_uniform
from hyperclip_jax.nn.transformer import Init, Initializer, Transformer

VISION_EPS = 1e-5  # of every LayerNorm of the image tower
OWN = 2  # tokens besides those of patches or words: CLS and UNC


class ImageTower(nn.Module):
  """Encodes images as rows of Gaussians, from CLS, UNC and patches.

  Attributes:
    width: width of the residual stream.
    depth: number of blocks.
    heads: number of attention heads.
    patch: side of a patch in pixels.
    mlp_ratio: width of the MLP, as a multiple of `width`.
    embed_dim: dimensions D of a Gaussian.
    initial_log_var: initial bias of the log variances.
    activation: key of `transformer.ACTIVATIONS`.
    dtype: dtype of the blocks; parameters and what follows are float32.
    remat: what the backward pass recomputes, a key of `transformer.REMAT`.
    unroll: whether to compile each block by itself instead of one loop.
  """

  width: int
  depth: int
  heads: int
  patch: int
  mlp_ratio: float
  embed_dim: int
  initial_log_var: float
  activation: str = "gelu"
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  unroll: bool = False

  @nn.compact
  def __call__(
    self,
    images_BHWC: Float[Array, "b h w 3"],
    keep_K: Int[Array, " k"] | None = None,
  ) -> Float[Array, "b dim"]:
    """Encodes images.

    Args:
      images_BHWC: normalised pixels.
      keep_K: numbers of the patches to keep, ascending; None for all.

    Returns:
      Rows [mean | log variance].
    """
    batch, pixels = images_BHWC.shape[:2]
    side, patch, width = pixels // self.patch, self.patch, self.width
    std = width**-0.5
    patches_BPX = (
      images_BHWC.reshape(batch, side, patch, side, patch, 3)
      .transpose(0, 1, 3, 2, 4, 5)
      .reshape(batch, side * side, patch * patch * 3)
    )
    x_BPD = nn.Dense(
      width,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=fan_in_uniform(),
      name="patch_embed",
    )(patches_BPX)
    own_2D = jnp.stack(
      [
        self.param(name, nn.initializers.normal(std), (width,))
        for name in ("cls", "unc")
      ]
    )
    positions_LD = self.param(
      "position_embed",
      nn.initializers.normal(std),
      (side * side + OWN, width),
    )
    own_2D, positions_LD = (
      x.astype(self.dtype) for x in (own_2D, positions_LD)
    )
    x_BPD = x_BPD + positions_LD[None, OWN:]
    if keep_K is not None:
      x_BPD = x_BPD[:, keep_K]
    own_B2D = (own_2D + positions_LD[:OWN])[None]
    own_B2D = jnp.broadcast_to(own_B2D, (batch, OWN, width))
    x_BLD = jnp.concatenate([own_B2D, x_BPD], axis=1)
    x_BLD = nn.LayerNorm(epsilon=VISION_EPS, dtype=self.dtype, name="norm_pre")(
      x_BLD
    )
    x_BLD = _blocks(
      self,
      qkv=nn.initializers.xavier_uniform(),
      out=fan_in_uniform(),
      fc1=fan_in_uniform(),
      fc2=fan_in_uniform(),
      epsilon=VISION_EPS,
    )(x_BLD)

    wide = at_least_float32(self.dtype)
    norm = nn.LayerNorm(epsilon=VISION_EPS, dtype=wide, name="norm_post")
    cls_unc_B2D = norm(x_BLD[:, :OWN].astype(wide))
    # The published model normalises CLS twice.
    mean_BE = _head(self, "proj", std, bias=None)(norm(cls_unc_B2D[:, 0]))
    log_var = _head(self, "log_var", std, self.initial_log_var)
    return gaussian.join(mean_BE, log_var(cls_unc_B2D[:, 1]))


class TextTower(nn.Module):
  """Encodes token ids as rows of Gaussians, from words, UNC and CLS.

  Every position sees every other, padding too, so texts must fill the context.

  Attributes:
    width: width of the residual stream.
    depth: number of blocks.
    heads: number of attention heads.
    vocab: size of the vocabulary.
    context: number of tokens of every text.
    mlp_ratio: width of the MLP, as a multiple of `width`.
    norm_eps: what every LayerNorm of the tower adds to variances.
    embed_dim: dimensions D of a Gaussian.
    initial_log_var: initial bias of the log variances.
    unc_readout: what the log variances are read from: "unc", the UNC token, or
      "mean", the mean before it is scaled to unit length, as the official code
      does; UNC then acts through attention alone, and D must be `width`.
    activation: key of `transformer.ACTIVATIONS`.
    dtype: dtype of the blocks; parameters and what follows are float32.
    remat: what the backward pass recomputes, a key of `transformer.REMAT`.
    unroll: whether to compile each block by itself instead of one loop.
  """

  width: int
  depth: int
  heads: int
  vocab: int
  context: int
  mlp_ratio: float
  norm_eps: float
  embed_dim: int
  initial_log_var: float
  unc_readout: str
  activation: str = "gelu"
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  unroll: bool = False

  @nn.compact
  def __call__(self, tokens_BL: Int[Array, "b l"]) -> Float[Array, "b dim"]:
    batch, length = tokens_BL.shape
    if length != self.context:
      raise ValueError(
        f"texts of {length} tokens: this tower attends to padding, so texts "
        f"must fill the context of {self.context}"
      )
    width = self.width
    x_BLD = nn.Embed(
      self.vocab,
      width,
      dtype=self.dtype,
      embedding_init=nn.initializers.normal(0.02),
      name="token_embed",
    )(tokens_BL)
    small = nn.initializers.normal(0.01)
    own_2D = jnp.stack(
      [self.param(name, small, (width,)) for name in ("unc", "cls")]
    ).astype(self.dtype)
    own_B2D = jnp.broadcast_to(own_2D[None], (batch, OWN, width))
    positions_LD = self.param("position_embed", small, (length + OWN, width))
    x_BLD = jnp.concatenate([x_BLD, own_B2D], axis=1)
    x_BLD = x_BLD + positions_LD[None].astype(self.dtype)
    std = width**-0.5
    residual_std = std * (2 * self.depth) ** -0.5
    x_BLD = _blocks(
      self,
      qkv=std,
      out=residual_std,
      fc1=(2 * width) ** -0.5,
      fc2=residual_std,
      epsilon=self.norm_eps,
    )(x_BLD)

    wide = at_least_float32(self.dtype)
    norm = nn.LayerNorm(epsilon=self.norm_eps, dtype=wide, name="norm")
    unc_cls_B2D = norm(x_BLD[:, -OWN:].astype(wide))
    mean_BE = _head(self, "proj", std, bias=0.0)(unc_cls_B2D[:, 1])
    log_var = _head(self, "log_var", std, self.initial_log_var)
    source = unc_cls_B2D[:, 0] if self.unc_readout == "unc" else mean_BE
    return gaussian.join(mean_BE, log_var(source))


class Towers(nn.Module):
  """Both towers, and the scale and bias of logits.

  Attributes:
    vision: image tower.
    text: text tower.
    pixel_mean: subtracted from pixels in [0, 1].
    pixel_std: divides pixels after that.
  """

  vision: ImageTower
  text: TextTower
  pixel_mean: tuple[float, ...]
  pixel_std: tuple[float, ...]

  def setup(self):
    initial = nn.initializers.constant
    self.param("logit_scale", initial(math.log(1 / 0.07)), ())
    self.param("logit_bias", initial(-10.0), ())

  def __call__(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "c l"]
  ) -> tuple[Float[Array, "b dim"], Float[Array, "c dim"]]:
    """Embeds images and texts; used to initialise all parameters."""
    return self.encode_image(images), self.encode_text(tokens)

  def encode_image(
    self,
    images: Float[Array, "b h w 3"],
    keep: Int[Array, " k"] | None = None,
  ) -> Float[Array, "b dim"]:
    """Computes rows of images with pixels in [0, 1].

    Args:
      images: pixels.
      keep: numbers of the patches to keep, ascending; None for all.
    """
    mean = jnp.asarray(self.pixel_mean, images.dtype)[None, None, None]
    std = jnp.asarray(self.pixel_std, images.dtype)[None, None, None]
    return self.vision((images - mean) / std, keep)

  def encode_text(self, tokens: Int[Array, "b l"]) -> Float[Array, "b dim"]:
    """Computes rows of token ids."""
    return self.text(tokens)


def at_least_float32(dtype: DTypeLike) -> DTypeLike:
  """The dtype of what follows the blocks.

  Near -10, bfloat16 has steps of 1/16: variances would be off by up to 3%.
  """
  return jnp.promote_types(dtype, jnp.float32)


def _blocks(
  tower: ImageTower | TextTower,
  qkv: float | Initializer,
  out: float | Initializer,
  fc1: float | Initializer,
  fc2: float | Initializer,
  epsilon: float,
) -> Transformer:
  """The blocks of a tower, from within its compact method."""
  mlp_width = int(tower.width * tower.mlp_ratio)
  return Transformer(
    tower.depth,
    tower.heads,
    causal=False,
    initial=Init(
      qkv,
      out,
      fc1,
      fc2,
      fc1_bias=fan_in_uniform(tower.width),
      fc2_bias=fan_in_uniform(mlp_width),
    ),
    dtype=tower.dtype,
    remat=tower.remat,
    unroll=tower.unroll,
    mlp_ratio=tower.mlp_ratio,
    activation=tower.activation,
    epsilon=epsilon,
    final_norm=False,
    name="transformer",
  )


def _head(
  tower: ImageTower | TextTower, name: str, std: float, bias: float | None
) -> nn.Dense:
  """A projection to D dimensions, in full precision on every device."""
  return nn.Dense(
    tower.embed_dim,
    use_bias=bias is not None,
    dtype=at_least_float32(tower.dtype),
    precision=jax.lax.Precision.HIGHEST,
    kernel_init=nn.initializers.normal(std),
    bias_init=nn.initializers.constant(bias or 0.0),
    name=name,
  )
