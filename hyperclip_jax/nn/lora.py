"""Low-rank adapters of transformer blocks, as functions of parameter trees.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA,
  2023, arXiv 2312.03732.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray

from hyperclip_jax.geometry.numerics import Array

# Matrices of a block -> matrices in their columns, each with its own adapter.
MATRICES = {"qkv": 3, "out": 1, "fc1": 1, "fc2": 1}

Blocks = Mapping[str, Mapping[str, Array]]
Adapters = Mapping[str, Mapping[str, Array]]


def init(
  key: PRNGKeyArray,
  blocks: Blocks,
  matrices: Sequence[str],
  last: int,
  rank: int,
) -> dict[str, dict[str, Array]]:
  """Initialises adapters that change nothing: `b` is zero.

  Args:
    key: random key.
    blocks: parameters of `nn.transformer.Transformer`'s blocks, whose kernels
      are (depth, rows, columns).
    matrices: keys of MATRICES to adapt.
    last: number of blocks to adapt, from the last; at most all.
    rank: rank of an adapter.

  Returns:
    Matrix -> {"a": (last, parts, rows, rank), "b": (last, parts, rank,
    columns / parts)}, float32; `a` is uniform within 1 / sqrt(rows).
  """
  found = {}
  for name in sorted(matrices):
    key, own = jax.random.split(key)
    depth, rows, columns = blocks[name]["kernel"].shape
    parts, count = MATRICES[name], min(last, depth)
    bound = rows**-0.5
    shape = (count, parts, rows, rank)
    found[name] = {
      "a": jax.random.uniform(own, shape, minval=-bound, maxval=bound),
      "b": jnp.zeros((count, parts, rank, columns // parts)),
    }
  return found


def factor(rank: int, alpha: float, stabilised: bool) -> float:
  """Computes the factor of an adapter's product.

  Args:
    rank: rank r.
    alpha: numerator.
    stabilised: whether to divide by the square root of the rank (rsLoRA)
      instead of the rank.

  Returns:
    alpha / sqrt(r), or alpha / r.

  Examples:
    >>> factor(16, 8.0, True), factor(16, 8.0, False)
    (2.0, 0.5)
  """
  return alpha / rank**0.5 if stabilised else alpha / rank


def merged(
  blocks: Blocks, adapters: Adapters, scale: float
) -> dict[str, dict[str, Array]]:
  """Adds adapters to the kernels of the last blocks.

  Args:
    blocks: parameters as of `init`.
    adapters: result of `init`, trained.
    scale: result of `factor`.

  Returns:
    Parameters of the same shapes.
  """
  found = {name: dict(leaves) for name, leaves in blocks.items()}
  for name, adapter in adapters.items():
    kernel = blocks[name]["kernel"]
    change = scale * jnp.einsum("npir,nprj->nipj", adapter["a"], adapter["b"])
    count = len(change)
    change = change.reshape(count, *kernel.shape[1:]).astype(kernel.dtype)
    found[name]["kernel"] = (
      jnp.asarray(kernel).at[len(kernel) - count :].add(change)
    )
  return found


def dropped(
  key: PRNGKeyArray, adapters: Adapters, rate: float
) -> dict[str, dict[str, Array]]:
  """Drops input features of adapters.

  The features of all positions of a batch are dropped together, unlike those of
  a dropout layer before `a`, which a function of parameters cannot see.

  Args:
    key: random key.
    adapters: result of `init`.
    rate: share of features to drop, in [0, 1); the others grow in turn.

  Returns:
    Adapters of the same shapes.
  """
  found = {}
  for name in sorted(adapters):
    key, own = jax.random.split(key)
    a: Float[Array, "n parts rows rank"] = adapters[name]["a"]
    keep = jax.random.bernoulli(own, 1 - rate, (*a.shape[:3], 1))
    found[name] = {**adapters[name], "a": jnp.where(keep, a / (1 - rate), 0.0)}
  return found
