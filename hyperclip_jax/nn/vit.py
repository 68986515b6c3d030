"""The image tower: a vision transformer (Dosovitskiy et al., 2021).

Positions are fixed sines and cosines, with the patch initialiser of MoCo v3
(Chen et al., 2021, arXiv 2104.02057), or learned, as in arXiv 2010.11929.
Patches are of pixels, or of cells of oriented gradients for very small data.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.nn import gradients
from hyperclip_jax.nn.initializers import fan_in_uniform
from hyperclip_jax.nn.transformer import Init, Transformer

POSITIONS = ("sincos", "learned")
STEMS = ("pixels", "gradients")


def sincos_positions(
  side: int, width: int, temperature: float = 10_000.0
) -> Float[np.ndarray, "patches width"]:
  """Makes fixed 2D position embeddings: sin and cos of the row, then column.

  Args:
    side: number of patches along each side of the image.
    width: width of an embedding, a multiple of 4.
    temperature: ratio of the largest to the smallest wavelength.

  Returns:
    Array (side * side, width) float32, row by row.

  Raises:
    ValueError: `width` is not a multiple of 4.
  """
  if width % 4:
    raise ValueError(f"vision.width must be a multiple of 4, found {width}")
  frequencies_F = temperature ** (-np.arange(width // 4) / (width // 4))
  angles_SF = np.arange(side)[:, None] * frequencies_F[None]
  waves_SE = np.concatenate([np.sin(angles_SF), np.cos(angles_SF)], axis=1)
  rows_PE = np.repeat(waves_SE, side, axis=0)
  columns_PE = np.tile(waves_SE, (side, 1))
  return np.concatenate([rows_PE, columns_PE], axis=1).astype(np.float32)


class ViT(nn.Module):
  """Encodes images as the feature of the CLS token, after the final norm.

  Attributes:
    width: width of the residual stream.
    depth: number of blocks.
    heads: number of attention heads.
    patch: side of a patch in pixels.
    init_std: standard deviation of the kernel initialisers of the blocks; 0.02
      suits the published widths and is too small for widths below a hundred.
    dtype: dtype of the computation; parameters are float32.
    remat: what the backward pass recomputes, a key of `transformer.REMAT`.
    unroll: whether to compile each block by itself instead of one loop.
    positions: "sincos" for fixed positions of the patches, or "learned" ones of
      the patches and CLS, for images of one size.
    epsilon: epsilon of the LayerNorms.
    stem: what patches consist of: "pixels", or "gradients" for the cells of
      `nn.gradients`, where `patch` is a multiple of 8.
  """

  width: int
  depth: int
  heads: int
  patch: int
  init_std: float = 0.02
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  unroll: bool = False
  positions: str = "sincos"
  epsilon: float = 1e-5
  stem: str = "pixels"

  @nn.compact
  def __call__(
    self, images_BHWC: Float[Array, "b h w 3"], patches: bool = False
  ) -> Float[Array, "b *patches width"]:
    """Encodes images.

    Args:
      images_BHWC: normalised pixels.
      patches: whether to return the features of CLS and of all patches.

    Returns:
      Features of CLS (b, width), or all of them (b, 1 + patches, width).
    """
    batch, pixels = images_BHWC.shape[:2]
    side, patch, places_BHWC = pixels // self.patch, self.patch, images_BHWC
    if self.stem == "gradients":
      patch, places_BHWC = patch // gradients.CELL, gradients.cells(images_BHWC)
    channels = places_BHWC.shape[-1]
    patches_BPX = (
      places_BHWC.reshape(batch, side, patch, side, patch, channels)
      .transpose(0, 1, 3, 2, 4, 5)
      .reshape(batch, side * side, patch * patch * channels)
    )
    learned = self.positions == "learned"
    # MoCo v3's initialiser of the flattened patch, or that of a convolution.
    xavier, zeros = nn.initializers.xavier_uniform(), nn.initializers.zeros
    x_BPD = nn.Dense(
      self.width,
      dtype=self.dtype,
      kernel_init=fan_in_uniform() if learned else xavier,
      bias_init=fan_in_uniform(patches_BPX.shape[-1]) if learned else zeros,
      name="patch_embed",
    )(patches_BPX)
    if not learned:
      positions_PD = sincos_positions(side, self.width)
      x_BPD = x_BPD + jnp.asarray(positions_PD, self.dtype)[None]

    cls_D = self.param("cls", nn.initializers.normal(1e-6), (self.width,))
    cls_B1D = jnp.broadcast_to(cls_D.astype(self.dtype), (batch, 1, self.width))
    x_BLD = jnp.concatenate([cls_B1D, x_BPD], axis=1)
    if learned:
      positions_LD = self.param(
        "position_embed",
        nn.initializers.normal(0.02),
        (1 + side * side, self.width),
      )
      x_BLD = x_BLD + positions_LD.astype(self.dtype)[None]
    std = self.init_std
    x_BLD = Transformer(
      self.depth,
      self.heads,
      causal=False,
      initial=Init(std, std, std, std),
      dtype=self.dtype,
      remat=self.remat,
      unroll=self.unroll,
      epsilon=self.epsilon,
      name="transformer",
    )(x_BLD)
    return x_BLD if patches else x_BLD[:, 0]
