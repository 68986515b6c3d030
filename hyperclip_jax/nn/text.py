"""The text tower: CLIP's causal transformer (Radford et al., 2021)."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from hyperclip_jax.nn.transformer import Init, Transformer


class TextTransformer(nn.Module):
  """Encodes token ids as the feature at the end token, after the final norm.

  The tower is causal and reads one position, so padding to the right of the end
  token does not change the result and may be cut off.

  Attributes:
    width: width of the residual stream.
    depth: number of blocks.
    heads: number of attention heads.
    vocab: size of the vocabulary; its largest id is the end token.
    context: largest number of tokens in a text.
    dtype: dtype of the computation; parameters are float32.
    remat: what the backward pass recomputes, a key of `transformer.REMAT`.
    unroll: whether to compile each block by itself instead of one loop.
    activation: activation of the MLPs, a key of `transformer.ACTIVATIONS`.
    dropout: rate of the dropout at the entrance of every block, in calls with
      `train`.
  """

  width: int
  depth: int
  heads: int
  vocab: int
  context: int
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  unroll: bool = False
  activation: str = "gelu"
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self, tokens_BL: Int[Array, "b l"], train: bool = False
  ) -> Float[Array, "b width"]:
    length = tokens_BL.shape[1]
    if length > self.context:
      raise ValueError(
        f"text of {length} tokens does not fit the context of {self.context}"
      )
    x_BLD = nn.Embed(
      self.vocab,
      self.width,
      dtype=self.dtype,
      embedding_init=nn.initializers.normal(0.02),
      name="token_embed",
    )(tokens_BL)
    positions_XD = self.param(
      "position_embed",
      nn.initializers.normal(0.01),
      (self.context, self.width),
    )
    x_BLD = x_BLD + positions_XD[None, :length].astype(self.dtype)

    std = self.width**-0.5
    residual_std = std * (2 * self.depth) ** -0.5
    x_BLD = Transformer(
      self.depth,
      self.heads,
      causal=True,
      initial=Init(
        qkv=std,
        out=residual_std,
        fc1=(2 * self.width) ** -0.5,
        fc2=residual_std,
      ),
      dtype=self.dtype,
      remat=self.remat,
      unroll=self.unroll,
      activation=self.activation,
      dropout=self.dropout,
      name="transformer",
    )(x_BLD, train)
    # The end token has the largest id of the vocabulary.
    end_B = jnp.argmax(tokens_BL, axis=1)
    return jnp.take_along_axis(x_BLD, end_B[:, None, None], axis=1)[:, 0]
