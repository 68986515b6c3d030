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
  variables to other options, such as to longer texts. If it names other systems
  as STARTS_FROM, it also takes their variables, or some of them.

  Args:
    config: config of a run.

  Returns:
    Variables as NumPy arrays; of a model of another system perhaps not all.

  Raises:
    ValueError: the model has another system or other parameters.
    OSError: there is no such model.
  """
  model = pretrained.load(config.init_from, trust_system=config.trust_system)
  where = f"config.init_from={shown(config.init_from)}"
  system = build.system(config)
  other = model.system != config.system
  if other and model.system not in getattr(system, "STARTS_FROM", ()):
    raise ValueError(
      f"{where} is a model of {model.system}: set config.system to it, or "
      f"start from one of {config.system}"
    )
  options, found = config_lib.options(config), jax.device_get(model.variables)
  adapted = getattr(system, "adapted", None)
  if adapted is not None:
    found = adapted(model.options, found, options)
  shapes: Any = traverse_util.flatten_dict(
    dict(variable_shapes(build.encoder(config))), sep="."
  )
  flat: Any = traverse_util.flatten_dict(dict(found), sep=".")
  if flat.keys() - shapes.keys() or (not other and shapes.keys() - flat.keys()):
    raise ValueError(f"{where}: {differing(flat, shapes)}")
  for name, leaf in flat.items():
    if leaf.shape != shapes[name].shape:
      raise ValueError(
        f"{where}: {name} is {leaf.shape}, config.model needs "
        f"{shapes[name].shape}"
      )
  return found


def begin(state: TrainState, config: Config) -> TrainState:
  """Puts the variables of `config.init_from` into a fresh state.

  Args:
    state: state at step 0, on its devices.
    config: config of a run.

  Returns:
    State with the model's variables, sharded like the fresh ones. What the
    model does not have stays fresh.
  """
  like: Any = traverse_util.flatten_dict(dict(state.variables))
  found: Any = traverse_util.flatten_dict(dict(variables(config)))
  placed = {
    path: jax.device_put(
      np.asarray(leaf, like[path].dtype), like[path].sharding
    )
    for path, leaf in found.items()
  }
  started = traverse_util.unflatten_dict(like | placed)
  return TrainState(state.step, started, state.opt_state)
