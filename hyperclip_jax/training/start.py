"""Starts a run from a trained model instead of random parameters."""

from typing import Any

import jax
import numpy as np
from flax import traverse_util

from hyperclip_jax.checkpoints.release import differing
from hyperclip_jax.files import shown
from hyperclip_jax.inference import pretrained
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.step import TrainState


def variables(config: Config) -> Any:
  """Reads the variables of `config.init_from` for the options of the config.

  A system may have `adapted(options, variables, wanted)`, which converts
  variables to other options, such as to longer texts.

  Args:
    config: config of a run.

  Returns:
    Variables as NumPy arrays.

  Raises:
    ValueError: the model has another system or other parameters.
    OSError: there is no such model.
  """
  model = pretrained.load(config.init_from, trust_system=config.trust_system)
  where = f"config.init_from={shown(config.init_from)}"
  if model.system != config.system:
    raise ValueError(
      f"{where} is a model of {model.system}: set config.system to it, or "
      f"start from one of {config.system}"
    )
  options, found = config_lib.options(config), jax.device_get(model.variables)
  adapted = getattr(build.system(config), "adapted", None)
  if adapted is not None:
    found = adapted(model.options, found, options)
  shapes: Any = traverse_util.flatten_dict(
    dict(variable_shapes(build.encoder(config))), sep="."
  )
  flat: Any = traverse_util.flatten_dict(dict(found), sep=".")
  if flat.keys() != shapes.keys():
    raise ValueError(f"{where}: {differing(flat, shapes)}")
  for name, leaf in shapes.items():
    if flat[name].shape != leaf.shape:
      raise ValueError(
        f"{where}: {name} is {flat[name].shape}, config.model needs "
        f"{leaf.shape}"
      )
  return found


def begin(state: TrainState, config: Config) -> TrainState:
  """Puts the variables of `config.init_from` into a fresh state.

  Args:
    state: state at step 0, on its devices.
    config: config of a run.

  Returns:
    State with the model's variables, sharded like the fresh ones.
  """
  like, found = dict(state.variables), dict(variables(config))
  placed = jax.tree.map(
    lambda new, old: jax.device_put(np.asarray(new, old.dtype), old.sharding),
    found,
    {name: like[name] for name in found},
  )
  return TrainState(state.step, like | placed, state.opt_state)
