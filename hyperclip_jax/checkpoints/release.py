"""The release format: a folder of `model.json` and `model.safetensors`.

model.json names the system and its options, which the weights do not contain. A
training run writes it when it starts, so that runs and releases are loaded
alike; only their weights are stored differently.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from hyperclip_jax import files, sections, systems
from hyperclip_jax.checkpoints import file_kinds, tensors
from hyperclip_jax.files import shown, write_whole

FORMAT, VERSION = "hyperclip-jax", 2
MODEL_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
WORDS_FILE = "words.index"  # index that `hyperclip demo` shows, if it is there
# The tokenizer is named by the options of some systems.
OTHER_FILES = ("tokenizer.json", WORDS_FILE)
OLD_FILE = "config.json"  # in releases of version 1, and in runs
CHECKPOINTS = "checkpoints"  # folder of a run
MAX_CONFIG = 1_000_000  # bytes
CHECKED = "checked"  # key of the digest of options and shapes that fit
SHOWN = 4  # keys of each kind listed in a message


Entries = Mapping[str, tuple[str, tuple[int, ...]]]  # dtype and shape by name
NOTHING: Entries = MappingProxyType({})


class Release(NamedTuple):
  """A model to share.

  Attributes:
    system: name of its system.
    options: `Options` of the system.
    variables: arrays, with the trained ones under "params".
  """

  system: str
  options: Any
  variables: Any


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a model.json or config.json.

  Args:
    path: file to read; it may be untrusted.

  Returns:
    The object.

  Raises:
    FileNotFoundError: it does not exist.
    ValueError: it is not a JSON object.
  """
  absent = file_kinds.absent(path)
  if absent:
    raise ValueError(f"{path}: {absent}")
  config = files.read_json(path, MAX_CONFIG)
  if not isinstance(config, dict):
    raise ValueError(f"{path}: not a JSON object")
  return config


def describe(folder: pathlib.Path, system: str, options: Any) -> None:
  """Writes the model.json of a run; see `description`."""
  _write_json(folder, description(folder, system, options))


def _write_json(folder: pathlib.Path, content: Mapping[str, Any]) -> None:
  write_whole(folder / MODEL_FILE, json.dumps(content, indent=2) + "\n")


def description(
  folder: pathlib.Path, system: str, options: Any, entries: Entries = NOTHING
) -> dict[str, Any]:
  """Makes the content of a model.json, and copies the files of the options.

  Args:
    folder: folder of a run or release.
    system: name of the system.
    options: options of the system.
    entries: dtypes and shapes of a release's weights, which were checked.

  Returns:
    JSON object.

  Raises:
    FileExistsError: the folder contains another model.json.
    ImportError: a file of the options is on the hub, and the extra `hub` is
      missing.
    OSError: it cannot be written, such as for lack of disk space, or a file of
      the options cannot be read.
  """
  path = folder / MODEL_FILE
  if path.exists() and read_json(path).get("format") != FORMAT:
    raise FileExistsError(
      f"{path} belongs to another program: give another folder"
    )
  values = dataclasses.asdict(options)
  for field, name in sections.files(options).items():
    if not values[field]:
      continue
    source = files.fetched(values[field], name)
    if not (folder / name).exists() or not source.samefile(folder / name):
      write_whole(folder / name, files.read_bytes(source))
    values[field] = name
  content: dict[str, Any] = {
    "format": FORMAT,
    "format_version": VERSION,
    "system": system,
    "options": values,
  }
  if entries:
    content[CHECKED] = _digest(system, values, entries)
  return content


def described(folder: pathlib.Path, trust_system: bool) -> tuple[str, Any]:
  """Reads the system and options of a folder's model.

  Missing options take their defaults, so that older files stay readable.

  Args:
    folder: folder of a run or release.
    trust_system: whether a system of another package may be imported.

  Returns:
    Name of the system, and its `Options`.

  Raises:
    FileNotFoundError: there is neither a model.json nor an older config.json.
    ValueError: it is not of this format, or its options do not fit the system.
  """
  path = folder / MODEL_FILE
  if path.exists() or not (folder / OLD_FILE).exists():
    config = read_json(path)
    found = (config.get("format"), config.get("format_version"))
    if found != (FORMAT, VERSION):
      raise ValueError(
        f'{path}: "format" must be {FORMAT!r} of "format_version" {VERSION}, '
        f"found {shown(repr(found[0]))} of {shown(repr(found[1]))}"
      )
    system, values = config.get("system"), config.get("options")
  else:
    path = folder / OLD_FILE
    system, values = upgraded(read_json(path))
  try:
    if not isinstance(system, str) or not isinstance(values, Mapping):
      raise ValueError('"system" must be a text and "options" an object')
    module = systems.find(system, trust_system)
    options = sections.build(module.Options, values)
    return system, with_files(options, folder)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def with_files(options: Any, folder: pathlib.Path) -> Any:
  """Replaces the files in options by the copies in a folder.

  Args:
    options: options as described in the folder; no other files may be read.
    folder: folder of a run or release.

  Returns:
    Options with the paths of the copies.

  Raises:
    ValueError: a file is neither in the folder nor on the hub.
  """
  found = {}
  for field, name in sections.files(options).items():
    value = getattr(options, field)
    if not value:
      continue
    if (folder / name).exists() or value == name:
      found[field] = str(folder / name)
    elif not value.startswith(files.HUB):
      raise ValueError(
        f"{field} must be {name!r}, beside this file, or {files.HUB}org/name, "
        f"found {shown(repr(value))}"
      )
  return dataclasses.replace(options, **found)


def upgraded(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
  """Converts a config.json from before systems had names.

  Args:
    config: content of the file, from a release of version 1 or a run.

  Returns:
    Name of the system, and its options.

  Raises:
    ValueError: it is neither.
  """
  objective: Any = config.get("objective")
  model: Any = config.get("model")
  arguments: Any = {}
  if isinstance(objective, Mapping):
    objective, arguments = objective.get("name"), objective.get("args", {})
  old = isinstance(objective, str) and isinstance(model, Mapping)
  if not old or not isinstance(arguments, Mapping):
    raise ValueError(
      "neither a training run nor a released model; found the keys "
      f"{', '.join(shown(key) for key in sorted(map(str, config))[:8])}"
    )
  above = ("image_size", "pixel_mean", "pixel_std")
  options = {name: config[name] for name in above if name in config}
  return objective, {**options, **model, **arguments}


def write(folder: str | pathlib.Path, release: Release, shapes: Any) -> None:
  """Writes a release, replacing an existing one.

  Args:
    folder: folder to write to; created if missing.
    release: model to write.
    shapes: tree of `jax.ShapeDtypeStruct`s of the variables.

  Raises:
    FileExistsError: the folder contains a run, or another program's model.json.
    OSError: it cannot be written, such as for lack of disk space.
    ValueError: the variables do not have these shapes.
  """
  folder = files.expanded(folder)
  if (folder / OLD_FILE).exists():
    raise FileExistsError(
      f"{folder / OLD_FILE} belongs to a training run or another program: "
      "give another folder"
    )
  folder.mkdir(parents=True, exist_ok=True)
  flat = traverse_util.flatten_dict(dict(release.variables), sep=".")
  arrays = {name: np.asarray(leaf) for name, leaf in flat.items()}
  entries = _flat(arrays, "")
  _check(folder / WEIGHTS_FILE, entries, _flat(shapes, ""))
  content = description(folder, release.system, release.options, entries)
  # Weights first: where they cannot be written, the former release stays.
  metadata = {"format": FORMAT, CHECKED: content[CHECKED]}
  tensors.write(folder / WEIGHTS_FILE, arrays, metadata)
  _write_json(folder, content)


def read_weights(folder: pathlib.Path, shapes: Callable[[], Any]) -> Any:
  """Reads the variables of a release.

  Args:
    folder: folder of the release.
    shapes: gives the tree of `jax.ShapeDtypeStruct`s of the variables. It is
      not called where `write` has checked these weights with these options,
      since tracing the towers takes as long as all the rest.

  Returns:
    Tree of arrays.

  Raises:
    FileNotFoundError: there are no weights.
    ValueError: they do not fit, which lists keys missing and unexpected, are
      not finite, or belong to another model.json.
  """
  path = folder / WEIGHTS_FILE
  # version 1 has parameters only
  prefix = "" if (folder / MODEL_FILE).exists() else "params."
  with tensors.opened(path) as file:
    entries = {name: file.get_slice(name) for name in [*file.keys()]}
    found = {
      name: (entry.get_dtype(), tuple(entry.get_shape()))
      for name, entry in entries.items()
    }
    digest = (file.metadata() or {}).get(CHECKED)
    if not _checked(folder, found, digest):
      _check(path, found, _flat(shapes(), prefix))
    flat = {name: file.get_tensor(name) for name in found}
  try:
    check_finite(flat)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  filled = {f"{prefix}{name}": array for name, array in flat.items()}
  return traverse_util.unflatten_dict(filled, sep=".")


def _flat(shapes: Any, prefix: str) -> Entries:
  flat: dict[str, Any] = traverse_util.flatten_dict(dict(shapes), sep=".")
  return {
    name.removeprefix(prefix): (tensors.dtype_name(leaf.dtype), leaf.shape)
    for name, leaf in flat.items()
  }


def _check(path: pathlib.Path, found: Entries, wanted: Entries) -> None:
  """Checks that weights have the names and shapes that the towers need."""
  if found.keys() != wanted.keys():
    raise ValueError(f"{path}: {differing(found, wanted)}")
  for name, (dtype, shape) in wanted.items():
    if found[name] != (dtype, shape):
      raise ValueError(
        f"{path}: key {name!r} is {found[name][0]} {shown(found[name][1])}, "
        f"the model needs {dtype} {shape}"
      )


def _checked(folder: pathlib.Path, found: Entries, digest: str | None) -> bool:
  """Whether `write` has checked weights of these shapes with these options.

  The code of other packages may have changed since.
  """
  if not (folder / MODEL_FILE).exists():
    return False
  config = read_json(folder / MODEL_FILE)
  if digest is not None and config.get(CHECKED, digest) != digest:
    raise ValueError(
      f"{folder}: {WEIGHTS_FILE} and {MODEL_FILE} are of different models, "
      "perhaps since saving was interrupted: save or copy both again"
    )
  system, options = str(config.get("system")), config.get("options")
  same = config.get(CHECKED) == _digest(system, options, found)
  return same and not systems.foreign(system)


def _digest(system: Any, options: Any, entries: Entries) -> str:
  """Digest of a description and the shapes of its weights, 16 digits."""
  text = json.dumps([system, options, entries], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def differing(found: Iterable[str], wanted: Iterable[str]) -> str:
  """Lists the first keys missing and unexpected, for a message.

  Args:
    found: keys found.
    wanted: keys wanted.

  Returns:
    One line.
  """

  def few(names: set[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    first = (shown(name) for name in sorted(names)[:SHOWN])
    return (", ".join(first) + more) or "nothing"

  found, wanted = set(found), set(wanted)
  return f"missing {few(wanted - found)}; unexpected {few(found - wanted)}"


def check_finite(weights: Mapping[str, np.ndarray]) -> None:
  """Checks that weights are finite.

  Args:
    weights: arrays by key.

  Raises:
    ValueError: a weight is NaN or infinite; the message names the first key.
  """
  for name, array in weights.items():
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
      raise ValueError(
        f"key {shown(name)} is NaN or infinite in {bad:,} of {array.size:,} "
        "values: the file is damaged, or its training diverged"
      )
