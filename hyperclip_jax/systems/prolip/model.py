"""Encoder of ProLIP: two towers onto Gaussians."""

import functools
import math
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PRNGKeyArray

from hyperclip_jax.data.feed import siglip
from hyperclip_jax.data.feed.tokenizer import AnyTokenizer, Tokenizer
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.systems.dual_encoder import Scalar
from hyperclip_jax.systems.prolip import towers
from hyperclip_jax.systems.prolip.options import Options
from hyperclip_jax.systems.task import Encoder, Variables

# The logarithm is clamped to [0, ln 100] after each update.
SCALARS = {"logit_scale": Scalar(math.log(1 / 0.07), 1.0, 100.0)}


def module(o: Options, dtype: DTypeLike | None = None) -> towers.Towers:
  """Makes the Flax module of the towers.

  Args:
    o: options of the system.
    dtype: dtype of the blocks; None for that of the options.

  Returns:
    Module without parameters.
  """
  shared: dict[str, Any] = {
    "embed_dim": o.embed_dim,
    "initial_log_var": o.initial_log_var,
    "activation": o.activation,
    "dtype": jnp.dtype(o.dtype if dtype is None else dtype),
    "remat": o.remat,
    "unroll": o.unroll,
  }
  return towers.Towers(
    towers.ImageTower(
      width=o.vision.width,
      depth=o.vision.depth,
      heads=o.vision.heads,
      patch=o.vision.patch,
      mlp_ratio=o.vision.mlp_ratio,
      **shared,
    ),
    towers.TextTower(
      width=o.text.width,
      depth=o.text.depth,
      heads=o.text.heads,
      vocab=o.text.vocab,
      context=o.text.context,
      mlp_ratio=o.text.mlp_ratio,
      norm_eps=o.text.norm_eps,
      unc_readout=o.text_unc_readout,
      **shared,
    ),
    tuple(map(float, o.pixel_mean)),
    tuple(map(float, o.pixel_std)),
  )


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto Gaussians.

  Args:
    o: options of the system.

  Returns:
    Encoder for training and inference.
  """
  both: Any = module(o)

  def init(key: PRNGKeyArray) -> Variables:
    images = jnp.zeros((1, o.image_size, o.image_size, 3))
    return both.init(key, images, jnp.zeros((1, o.text.context), jnp.int32))

  return Encoder(
    init=init,
    image=functools.partial(both.apply, method="encode_image"),
    text=functools.partial(both.apply, method="encode_text"),
    space=lambda params: Gaussian(),
    scale=lambda params: jnp.exp(params["logit_scale"]),
    tokenizer=functools.partial(_tokenizer, o.tokenizer, o.text.vocab),
    context=o.text.context,
    image_size=o.image_size,
    width=2 * o.embed_dim,
    whole_context=True,
  )


def _tokenizer(source: str, vocab: int) -> AnyTokenizer:
  return siglip.Tokenizer(source, vocab) if source else Tokenizer(vocab)
