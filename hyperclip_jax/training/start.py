"""Starts a run from a trained model instead of random parameters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from hyperclip_jax import files
from hyperclip_jax.checkpoints import open_clip
from hyperclip_jax.checkpoints.release import check_finite, differing
from hyperclip_jax.files import shown
from hyperclip_jax.inference import pretrained
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build, progress
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.step import TrainState

LISTED = 6  # names in a message

Leaves = dict[tuple[str, ...], Any]


class Start(NamedTuple):
  """What a run takes over.

  Attributes:
    leaves: path in the variables -> NumPy array; perhaps not all of them.
    notes: what was not taken and why, and what else to set.
  """

  leaves: Leaves
  notes: list[str]


def read(config: Config) -> Start:
  """Reads the variables of `config.init_from` for the options of the config.

  A model of another system may differ in its scalars, such as the curvature,
  which then start new. A system may have `adapted(options, variables, wanted)`,
  which converts variables to other options, such as to longer texts. If it
  names other systems as STARTS_FROM, it also takes their variables, or some of
  them. Of a state dict of OpenAI's CLIP or open_clip is taken what fits.

  Args:
    config: config of a run.

  Returns:
    Variables, and notes.

  Raises:
    ImportError: a package is missing that the file needs.
    ValueError: the model has another system or other parameters.
    OSError: there is no such model.
  """
  where = f"config.init_from={shown(config.init_from)}"
  if open_clip.is_file(config.init_from):
    path = files.expanded(config.init_from)
    state = open_clip.read(path)
    if state is not None:
      return _of_state_dict(config, state, where)
  model = pretrained.load(config.init_from, trust_system=config.trust_system)
  system = build.system(config)
  found: Any = jax.device_get(model.variables)
  adapted = getattr(system, "adapted", None)
  known = model.system in (
    config.system,
    *getattr(system, "STARTS_FROM", ()),
  )
  if known and adapted is not None:
    found = adapted(model.options, found, config_lib.options(config))
  shapes, flat = _shapes(config), _flat(found)
  same = model.system == config.system
  if not known and not _alike(flat, shapes):
    raise ValueError(
      f"{where} is a model of {model.system}: set config.system to it, or "
      f"start from one of {config.system}"
    )
  if not known:
    flat = {path: leaf for path, leaf in flat.items() if path in shapes}
  if flat.keys() - shapes.keys() or (same and shapes.keys() - flat.keys()):
    raise ValueError(f"{where}: {differing(_dotted(flat), _dotted(shapes))}")
  for path, leaf in flat.items():
    if leaf.shape != shapes[path]:
      raise ValueError(
        f"{where}: {'.'.join(path)} is {leaf.shape}, config.model needs "
        f"{shapes[path]}"
      )
  return Start(flat, [])


def begin(state: TrainState, config: Config) -> TrainState:
  """Puts the variables of `config.init_from` into a fresh state.

  Prints what was taken and what was not.

  Args:
    state: state at step 0, on its devices.
    config: config of a run.

  Returns:
    State with the model's variables, sharded like the fresh ones. What the
    model does not have stays fresh.
  """
  like = _flat(state.variables)
  found = read(config)
  progress.say(report(found, {path: leaf.size for path, leaf in like.items()}))
  placed = {
    path: jax.device_put(
      np.asarray(leaf, like[path].dtype), like[path].sharding
    )
    for path, leaf in found.leaves.items()
  }
  started = traverse_util.unflatten_dict(like | placed)
  return TrainState(state.step, started, state.opt_state)


def report(found: Start, sizes: Mapping[tuple[str, ...], int]) -> str:
  """Describes what a run takes over.

  Args:
    found: what it takes over.
    sizes: path -> number of elements of each of its variables.

  Returns:
    Lines.
  """
  taken = sum(sizes[path] for path in found.leaves)
  new = ["/".join(path[1:]) for path in sizes if path not in found.leaves]
  lines = [
    f"init_from: took {taken:,} of {sum(sizes.values()):,} parameters in "
    f"{len(found.leaves)} of {len(sizes)} arrays"
  ]
  if new:
    lines.append(f"  start new: {_listed(new)}")
  return "\n".join([*lines, *(f"  {note}" for note in found.notes)])


def _of_state_dict(config: Config, state: Any, where: str) -> Start:
  """Takes what fits of a state dict of OpenAI's layout."""
  wanted = _shapes(config)
  system, options = build.system(config), config_lib.options(config)
  if not hasattr(options, "vision") or not hasattr(options, "text"):
    raise ValueError(
      f"{where} holds two transformers, which {config.system} has not"
    )
  try:
    check_finite(dict(state))
    open_clip.check_heads(options)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error
  plain = {path[1:]: shape for path, shape in wanted.items()}
  leaves = {
    path: array
    for path, array in open_clip.convert(state, plain.keys()).items()
    if plain.get(path) == array.shape
  }
  left = open_clip.left(state, plain)
  if not any("blocks" in path for path in leaves):
    why = [
      f"{name} {reason}" for name, reason in left.items() if "blocks" in name
    ]
    raise ValueError(f"{where}: none of its blocks fit: {_listed(why)}")
  tree: Any = {"params": traverse_util.unflatten_dict(leaves)}
  if "clip" in getattr(system, "STARTS_FROM", ()):
    tree = system.adapted(options, tree, options)
  notes = [f"{name} {reason}" for name, reason in left.items()]
  notes = [f"not taken: {_listed(notes)}"] if notes else []
  return Start(
    _flat(tree), [*notes, *filter(None, [open_clip.advice(options)])]
  )


def _alike(flat: Leaves, shapes: Leaves) -> bool:
  """Checks that variables differ in top-level scalars of params alone."""
  return all(
    len(path) == 2 and path[0] == "params"
    for path in flat.keys() ^ shapes.keys()
  )


def _shapes(config: Config) -> dict[tuple[str, ...], tuple[int, ...]]:
  shapes = _flat(variable_shapes(build.encoder(config)))
  return {path: leaf.shape for path, leaf in shapes.items()}


def _flat(tree: Any) -> Leaves:
  found: Any = traverse_util.flatten_dict(dict(tree))
  return found


def _dotted(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
  return {".".join(path): leaf for path, leaf in leaves.items()}


def _listed(names: list[str]) -> str:
  more = len(names) - LISTED
  listed = ", ".join(shown(name) for name in names[:LISTED])
  return f"{listed} and {more} more" if more > 0 else listed
