"""From a config to the things it describes; the rest takes plain values."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from hyperclip_jax.losses import contrastive, tiled
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.vit import ViT
from hyperclip_jax.optim import adamw
from hyperclip_jax.systems.dual_encoder import DualEncoder
from hyperclip_jax.systems.objectives import OBJECTIVES
from hyperclip_jax.training import step
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.step import Objective, TrainState

# Logits a device from which "auto" tiles the contrastive loss: those of a batch
# of 4,096 on one. With gradients, HyCoCLIP's needs 2.3 GB of temporaries in the
# naive form and 0.3 in tiles there, and 0.6 either way at half the batch (XLA's
# count). A batch that many devices share stays naive for longer: embeddings are
# gathered at once, while tiles take as many turns round as there are devices.
TILED_FROM = 4096**2


def model(config: Config) -> DualEncoder:
  """The dual encoder of `config.model`, lifted as its objective wants."""
  dtype = jnp.dtype(config.model.dtype)
  # Older runs' configs have neither.
  blocks = {
    "remat": config.model.get("remat", "none"),
    "unroll": config.model.get("unroll", False),
  }
  return DualEncoder(
    vision=ViT(**config.model.vision, dtype=dtype, **blocks),
    text=TextTransformer(**config.model.text, dtype=dtype, **blocks),
    embed_dim=config.model.embed_dim,
    hyperbolic=config.objective.name != "clip",
  )


def objective(config: Config, mesh: Mesh) -> Objective:
  """The loss (embeddings, scalars) -> (loss, terms), over a mesh's devices."""
  chosen = config.objective.contrast
  if chosen == "auto":
    logits = config.batch_size**2 // mesh.shape["data"]
    chosen = "tiled" if logits >= TILED_FROM else "naive"
  contrast = contrastive.cross_entropy
  if chosen == "tiled":
    contrast = functools.partial(tiled.cross_entropy, mesh)
  return functools.partial(
    OBJECTIVES[config.objective.name],
    contrast=contrast,
    **config.objective.args,
  )


def init(config: Config) -> Callable[[], TrainState]:
  """What makes the state at step 0; `jax.eval_shape` of it makes nothing."""
  return functools.partial(
    step.init,
    model(config),
    optimizer(config),
    jax.random.key(config.seed),
    config.model.image_size,
  )


def schedule(config: Config) -> optax.Schedule:
  """Step -> learning rate."""
  return adamw.schedule(
    config.optim.learning_rate, config.optim.warmup, config.steps
  )


def optimizer(config: Config) -> optax.GradientTransformation:
  """AdamW on that schedule."""
  return adamw.adamw(
    schedule(config),
    b1=config.optim.b1,
    b2=config.optim.b2,
    eps=config.optim.eps,
    weight_decay=config.optim.weight_decay,
    decay_norm_and_bias=config.optim.decay_norm_and_bias,
  )
