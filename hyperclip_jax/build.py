"""From a config to the things it describes; the rest takes plain values."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from hyperclip_jax import optim, state
from hyperclip_jax.config import Config
from hyperclip_jax.models.dual_encoder import DualEncoder
from hyperclip_jax.models.text import TextTransformer
from hyperclip_jax.models.vit import ViT
from hyperclip_jax.objectives import OBJECTIVES
from hyperclip_jax.state import Objective, TrainState


def model(config: Config) -> DualEncoder:
  """The dual encoder of `config.model`, lifted as its objective wants."""
  dtype = jnp.dtype(config.model.dtype)
  remat = config.model.get("remat", "none")  # older runs' configs have none
  return DualEncoder(
    vision=ViT(**config.model.vision, dtype=dtype, remat=remat),
    text=TextTransformer(**config.model.text, dtype=dtype, remat=remat),
    embed_dim=config.model.embed_dim,
    hyperbolic=config.objective.name != "clip",
  )


def objective(config: Config) -> Objective:
  """The loss (embeddings, scalars) -> (loss, terms)."""
  return functools.partial(
    OBJECTIVES[config.objective.name], **config.objective.args
  )


def init(config: Config) -> Callable[[], TrainState]:
  """What makes the state at step 0; `jax.eval_shape` of it makes nothing."""
  return functools.partial(
    state.init,
    model(config),
    optimizer(config),
    jax.random.key(config.seed),
    config.model.image_size,
  )


def schedule(config: Config) -> optax.Schedule:
  """Step -> learning rate."""
  return optim.schedule(
    config.optim.learning_rate, config.optim.warmup, config.steps
  )


def optimizer(config: Config) -> optax.GradientTransformation:
  """AdamW on that schedule."""
  return optim.adamw(
    schedule(config),
    b1=config.optim.b1,
    b2=config.optim.b2,
    eps=config.optim.eps,
    weight_decay=config.optim.weight_decay,
    decay_norm_and_bias=config.optim.decay_norm_and_bias,
  )
