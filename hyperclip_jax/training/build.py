"""Builds what a config describes; other modules take plain values."""

import functools
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, PyTree

from hyperclip_jax import systems
from hyperclip_jax.data.feed.distortions import Options as Distortions
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.space import Space
from hyperclip_jax.optim import adamw
from hyperclip_jax.optim import towers as towers_lib
from hyperclip_jax.systems.task import Batch, Encoder, Rules, Task, Variables
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import step
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.step import TrainState


def system(config: Config) -> ModuleType:
  """Imports the module of `config.system`."""
  return systems.find(config.system, config.trust_system)


def encoder(config: Config) -> Encoder:
  """Builds the encoder of the config's system."""
  return system(config).encoder(config_lib.options(config))


def task(config: Config, mesh: Mesh) -> Task:
  """Builds the task of the config's system, with its views as in `config.data`.

  Args:
    config: checked config.
    mesh: device mesh of the run.

  Returns:
    Task to train.
  """
  data = config.data
  view = View(
    count=data.parts_per_image,
    crop=tuple(data.crop_scale),
    distortions=Distortions(**data.distortions),
    lengths=tuple(data.text_buckets),
  )
  made = system(config).task(config_lib.options(config), view, mesh)
  _check_towers(config, made)
  lock = config.optim.lock_tower
  return _locked(made, made.rules.towers[lock]) if lock else made


def check_encoder(config: Config, variables: PyTree) -> None:
  """Checks that an encoder does what it says, as evaluation comes late.

  Args:
    config: config of a system of another package.
    variables: shapes of its variables.

  Raises:
    ValueError: rows have another width, or the space lacks something.
  """
  found = encoder(config)
  side = found.image_size
  for kind, embed, given in (
    ("image", found.image, jnp.zeros((1, side, side, 3))),
    ("text", found.text, jnp.zeros((1, found.context), jnp.int32)),
  ):
    shape = jax.eval_shape(embed, variables, given).shape
    if shape != (1, found.width):
      raise ValueError(
        f"system {config.system!r}: {kind} of its encoder gives rows of the "
        f"shape {shape[1:]}, and its width is {found.width}"
      )
  space = jax.eval_shape(found.space, variables["params"])
  if not isinstance(space, Space):
    raise ValueError(
      f"system {config.system!r}: its space {type(space).__name__} lacks parts "
      "of geometry.space.Space: derive it from a class of geometry.spaces"
    )


def _check_towers(config: Config, task: Task) -> None:
  """Checks that there are towers where the config is about them.

  Raises:
    ValueError: the system has none of that kind.
  """
  optim, towers = config.optim, task.rules.towers
  wanted = [optim.lock_tower] if optim.lock_tower else []
  wanted += [] if optim.layer_decay == 1 else [*towers]
  if not wanted:
    return
  params = jax.eval_shape(task.init, jax.random.key(0))["params"]
  for kind in wanted:
    blocks = jax.tree_util.tree_leaves_with_path(
      params.get(towers.get(kind, ""), {})
    )
    if not any(towers_lib.BLOCKS in jax.tree_util.keystr(p) for p, _ in blocks):
      raise ValueError(
        f"config.optim.lock_tower and layer_decay: {config.system} trains no "
        f"{kind} tower of transformer blocks"
      )


def _locked(task: Task, tower: str) -> Task:
  """Stops the gradients of a tower, so that they are not computed."""

  def embed(
    variables: Variables, batch: Batch, key: PRNGKeyArray
  ) -> tuple[PyTree, Variables]:
    params = dict(variables["params"])
    params[tower] = jax.lax.stop_gradient(params[tower])
    return task.embed({**variables, "params": params}, batch, key)

  return task._replace(embed=embed)


def schedule(config: Config) -> optax.Schedule:
  """Builds the learning-rate schedule, a function of the step."""
  optim = config.optim
  lengths = optim.learning_rate, optim.warmup, config.steps
  if optim.start or optim.end:
    return adamw.schedule_between(*lengths, optim.start, optim.end)
  return adamw.schedule(*lengths)


def optimizer(config: Config, rules: Rules) -> optax.GradientTransformation:
  """Builds AdamW with the config's schedule, lock and rates by layer.

  Args:
    config: checked config.
    rules: rules of the system, for weight decay.

  Returns:
    Gradient transformation.
  """
  optim = config.optim
  mask = functools.partial(
    adamw.decay_mask,
    matrices=rules.matrices,
    scalars=rules.scalars,
    norm_and_bias=optim.decay_norm_and_bias,
  )
  found = adamw.adamw(
    schedule(config),
    b1=optim.b1,
    b2=optim.b2,
    eps=optim.eps,
    weight_decay=optim.weight_decay,
    mask=mask,
  )
  if optim.lock_tower:  # whose gradients are zero, and so are its updates
    tower = rules.towers[optim.lock_tower]
    found = optax.masked(found, lambda p: towers_lib.outside(p, tower))
  if optim.layer_decay < 1:
    towers = tuple(rules.towers.values())
    rates = towers_lib.by_layer(towers, optim.layer_decay)
    found = optax.chain(found, rates)
  return found


def init(config: Config, task: Task) -> Callable[[], TrainState]:
  """Returns a function that initialises the state at step 0.

  Args:
    config: checked config.
    task: task of its system.

  Returns:
    Function without arguments. `jax.eval_shape` of it gives the shapes without
    computing anything.
  """
  key = jax.random.key(config.seed)
  return functools.partial(step.init, task, optimizer(config, task.rules), key)
