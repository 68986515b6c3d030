"""Published layouts that a system reads and writes itself.

A system may have a module `official` of three functions:

  matches(names)             whether the names of arrays are those of its layout
  read(state, config)        (options, variables) from arrays by name, and the
                             content of a config.json or None
  write(options, variables)  arrays by name
"""

import pathlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from flax import traverse_util

from hyperclip_jax import systems
from hyperclip_jax.checkpoints import tensors
from hyperclip_jax.checkpoints.release import (
  OLD_FILE,
  WEIGHTS_FILE,
  Release,
  check_finite,
  read_json,
  with_files,
)


def layout(system: str) -> ModuleType | None:
  """Returns the module `official` of a system, or None if it has none."""
  return getattr(systems.find(system), "official", None)


def find(names: Iterable[str]) -> str | None:
  """Finds the system whose layout has the given names of arrays.

  Args:
    names: names of arrays in a file.

  Returns:
    Name of the system; None if no system has such a layout of its own.
  """
  names = list(names)
  for system in systems.names():
    own = layout(system)
    if own is not None and own.matches(names):
      return system
  return None


def release(
  system: str,
  state: Mapping[str, np.ndarray],
  config: Mapping[str, Any] | None = None,
) -> Release:
  """Converts arrays of a system's layout.

  Args:
    system: result of `find`.
    state: arrays by official name.
    config: content of its config.json, or what the arrays do not say, such as
      {"vision_heads": 12}.

  Returns:
    System, options and variables.

  Raises:
    ValueError: they are not those of such a model, or not finite.
  """
  own = layout(system)
  assert own is not None
  options, variables = own.read(state, config)
  flat = traverse_util.flatten_dict(dict(variables), sep=".")
  check_finite({name: np.asarray(leaf) for name, leaf in flat.items()})
  return Release(system, options, variables)


def folder(path: pathlib.Path) -> Release | None:
  """Reads a folder of config.json and model.safetensors, as on the hub.

  Args:
    path: folder.

  Returns:
    Model; None if the folder has no such files, or of no system's layout.

  Raises:
    ValueError: they are damaged, or do not fit each other.
  """
  config, weights = path / OLD_FILE, path / WEIGHTS_FILE
  if not (config.is_file() and weights.is_file()):
    return None
  with tensors.opened(weights) as file:
    system = find(file.keys())
    if system is None:
      return None
    state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  try:
    found = release(system, state, read_json(config))
    return found._replace(options=with_files(found.options, path))
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
