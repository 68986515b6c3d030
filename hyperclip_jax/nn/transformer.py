"""Pre-norm transformer blocks, scanned over depth; both towers use them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# What the backward pass keeps of a block besides its input. The rest is
# recomputed; "none" recomputes nothing.
REMAT = {
  "none": None,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  "full": jax.checkpoint_policies.nothing_saveable,
}


def quick_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """Approximates the GELU by x sigmoid(1.702 x), as the published CLIP does."""
  return x * nn.sigmoid(1.702 * x)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """Computes the exact GELU (Hendrycks and Gimpel, 2016)."""
  return nn.gelu(x, approximate=False)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
  "gelu": gelu,
  "quick_gelu": quick_gelu,
}

Initializer = nn.initializers.Initializer


@dataclasses.dataclass(frozen=True)
class Init:
  """Initialisers of a block.

  Attributes:
    qkv: kernel of queries, keys and values: the standard deviation of a normal
      distribution, or an initialiser.
    out: the same of the output projection of the attention.
    fc1: the same of the first layer of the MLP.
    fc2: the same of the second layer of the MLP.
    fc1_bias: initialiser of the first layer's bias.
    fc2_bias: initialiser of the second layer's bias.
  """

  qkv: float | Initializer
  out: float | Initializer
  fc1: float | Initializer
  fc2: float | Initializer
  fc1_bias: Initializer = nn.initializers.zeros
  fc2_bias: Initializer = nn.initializers.zeros


def attention(
  q_BLHK: Float[Array, "b l h k"],
  k_BLHK: Float[Array, "b l h k"],
  v_BLHK: Float[Array, "b l h k"],
  causal: bool,
) -> Float[Array, "b l h k"]:
  """Computes scaled dot-product attention (Vaswani et al., 2017).

  It uses cuDNN's flash kernel for bfloat16 on GPUs. Elsewhere the weights are
  normalised after they are applied, which saves a pass over all pairs of
  positions in the forward pass and a sum over them in the backward pass.

  Args:
    q_BLHK: queries (batch, length, heads, width of a head).
    k_BLHK: keys of the same shape.
    v_BLHK: values of the same shape.
    causal: whether a position sees only itself and earlier ones.

  Returns:
    Weighted values of the same shape and dtype.
  """
  dtype = q_BLHK.dtype
  if jax.default_backend() == "gpu" and dtype == jnp.bfloat16:
    return even_attention(q_BLHK, k_BLHK, v_BLHK, causal, "cudnn")
  q_BHLK, k_BHMK, v_BHMK = (
    x.transpose(0, 2, 1, 3) for x in (q_BLHK, k_BLHK, v_BLHK)
  )
  logits_BHLM = jnp.einsum(
    "bhlk,bhmk->bhlm",
    q_BHLK * jnp.asarray(q_BHLK.shape[-1] ** -0.5, dtype),
    k_BHMK,
    preferred_element_type=jnp.promote_types(dtype, jnp.float32),
  )
  if causal:
    seen_LM = jnp.tril(jnp.ones(logits_BHLM.shape[-2:], bool))
    logits_BHLM = jnp.where(seen_LM[None, None], logits_BHLM, -jnp.inf)
  largest_BHL1 = jax.lax.stop_gradient(logits_BHLM.max(-1, keepdims=True))
  weights_BHLM = jnp.exp(logits_BHLM - largest_BHL1)
  y_BHLK = jnp.einsum("bhlm,bhmk->bhlk", weights_BHLM.astype(dtype), v_BHMK)
  total_BHL1 = weights_BHLM.sum(-1, keepdims=True)
  y_BHLK = y_BHLK.astype(total_BHL1.dtype) / total_BHL1
  return y_BHLK.astype(dtype).transpose(0, 2, 1, 3)


def even_attention(
  q_BLHK: Float[Array, "b l h k"],
  k_BLHK: Float[Array, "b l h k"],
  v_BLHK: Float[Array, "b l h k"],
  causal: bool,
  implementation: Literal["cudnn", "xla"],
) -> Float[Array, "b l h k"]:
  """Computes attention by `jax.nn`, padding an odd length by one position.

  JAX cannot differentiate cuDNN's kernel at odd lengths, such as 196 patches
  with CLS, and 77 tokens. No position attends to the added one: it is the last
  of a causal sequence, or masked by the sequence length.

  Args:
    q_BLHK: queries (batch, length, heads, width of a head).
    k_BLHK: keys of the same shape.
    v_BLHK: values of the same shape.
    causal: whether a position sees only itself and earlier ones.
    implementation: kernel, as for `jax.nn.dot_product_attention`.

  Returns:
    Weighted values of the same shape and dtype.
  """
  batch, length = q_BLHK.shape[:2]
  odd = length % 2
  q_BMHK, k_BMHK, v_BMHK = (
    jnp.pad(x, ((0, 0), (0, odd), (0, 0), (0, 0)))
    for x in (q_BLHK, k_BLHK, v_BLHK)
  )
  masked = odd and not causal
  y_BMHK = jax.nn.dot_product_attention(
    q_BMHK,
    k_BMHK,
    v_BMHK,
    is_causal=causal,
    key_value_seq_lengths=jnp.full(batch, length, jnp.int32)
    if masked
    else None,
    implementation=implementation,
  )
  return y_BMHK[:, :length]


class Block(nn.Module):
  """Applies x + attention(norm(x)), then x + mlp(norm(x)).

  Attributes:
    heads: number of attention heads.
    causal: whether a position sees only itself and earlier ones.
    initial: initialisers.
    dtype: dtype of the computation; parameters are float32.
    mlp_ratio: width of the MLP, as a multiple of the input's, rounded down.
    activation: activation of the MLP, a key of `ACTIVATIONS`.
    epsilon: epsilon of the LayerNorms.
    dropout: rate at which numbers of the input are dropped, before anything
      else; it draws from the stream "dropout" if it is not 0.
  """

  heads: int
  causal: bool
  initial: Init
  dtype: DTypeLike
  activation: str = "gelu"
  epsilon: float = 1e-5
  mlp_ratio: float = 4.0
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x_BLD: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
    width, initial = x_BLD.shape[-1], self.initial
    mlp_width = int(width * self.mlp_ratio)

    def norm(name):
      return nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name=name)

    def dense(name, features, kernel, bias=nn.initializers.zeros):
      if not callable(kernel):
        kernel = nn.initializers.normal(kernel)
      return nn.Dense(
        features,
        dtype=self.dtype,
        kernel_init=kernel,
        bias_init=bias,
        name=name,
      )

    if self.dropout:
      x_BLD = nn.Dropout(self.dropout, deterministic=False)(x_BLD)
    y_BLD = norm("norm1")(x_BLD)
    qkv_BLX = dense("qkv", 3 * width, initial.qkv)(y_BLD)
    qkv_BL3HK = qkv_BLX.reshape(*x_BLD.shape[:2], 3, self.heads, -1)
    y_BLHK = attention(*jnp.unstack(qkv_BL3HK, axis=2), causal=self.causal)
    y_BLD = y_BLHK.reshape(x_BLD.shape)
    x_BLD = x_BLD + dense("out", width, initial.out)(y_BLD)

    y_BLD = norm("norm2")(x_BLD)
    fc1 = dense("fc1", mlp_width, initial.fc1, initial.fc1_bias)
    y_BLF = ACTIVATIONS[self.activation](fc1(y_BLD))
    fc2 = dense("fc2", width, initial.fc2, initial.fc2_bias)
    return x_BLD + fc2(y_BLF)


class Transformer(nn.Module):
  """Applies `depth` blocks, and a LayerNorm unless `final_norm` is False.

  The blocks are one scanned block, which is compiled once; their parameters are
  stacked along a leading axis of length `depth`.

  Attributes:
    depth: number of blocks.
    heads: number of attention heads.
    causal: whether a position sees only itself and earlier ones.
    initial: initialisers of a block.
    dtype: dtype of the computation; parameters are float32.
    remat: what the backward pass recomputes, a key of `REMAT`.
    unroll: whether to compile each block by itself, so that residuals are not
      copied into stacks. It needs `remat` "none": without the loop, XLA would
      merge the recomputation with the first computation.
    mlp_ratio: as of `Block`.
    activation: as of `Block`.
    epsilon: as of `Block`.
    final_norm: whether a LayerNorm follows the blocks.
    dropout: rate of the dropout at the entrance of every block, in calls with
      `train`; the stream is "dropout".
  """

  depth: int
  heads: int
  causal: bool
  initial: Init
  dtype: DTypeLike
  remat: str
  unroll: bool = False
  activation: str = "gelu"
  epsilon: float = 1e-5
  mlp_ratio: float = 4.0
  final_norm: bool = True
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self, x_BLD: Float[Array, "b l d"], train: bool = False
  ) -> Float[Array, "b l d"]:
    blocks = nn.scan(
      lambda block, x, _: (block(x), None),
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.depth,
      unroll=self.depth if self.unroll else 1,
    )
    policy = REMAT[self.remat]
    # The loop already keeps XLA from merging the two computations.
    kind = (
      nn.remat(Block, prevent_cse=False, policy=policy) if policy else Block
    )
    block = kind(
      self.heads,
      self.causal,
      self.initial,
      self.dtype,
      self.activation,
      self.epsilon,
      self.mlp_ratio,
      self.dropout if train else 0.0,
      name="blocks",
    )
    x_BLD, _ = blocks(block, x_BLD, None)
    if not self.final_norm:
      return x_BLD
    norm = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name="norm")
    return norm(x_BLD)
