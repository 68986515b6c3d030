"""Loads trained models: runs, releases, published ones, the hub, .pth files."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hyperclip_jax import files, systems
from hyperclip_jax.checkpoints import (
  card,
  hub,
  named,
  official,
  release,
  torch_checkpoint,
)
from hyperclip_jax.checkpoints.named import Named
from hyperclip_jax.checkpoints.release import (
  CHECKPOINTS,
  MODEL_FILE,
  OLD_FILE,
  WEIGHTS_FILE,
  Release,
)
from hyperclip_jax.files import shown
from hyperclip_jax.inference import inputs
from hyperclip_jax.inference.encoder import Device
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems.task import variable_shapes

# A string or path; what else is given gets an error of its own.
Source = Any
DType = Any  # a name, or what `jax.numpy.dtype` takes


def list_pretrained() -> dict[str, Named]:
  """Lists the models that `load` knows by name.

  "emoji-mini" comes with the package; the others are on the hub.

  Returns:
    System, repository, file, licence and digest by name, as far as known.

  Examples:
    >>> list_pretrained()["hycoclip-vit-b"].repository
    'avik-pal/hycoclip'
  """
  return dict(named.models())


def load(
  source: Source,
  vision_heads: int | None = None,
  text_heads: int | None = None,
  trust_system: bool = False,
  batch_size: int = 64,
  dtype: DType = None,
  devices: Sequence[Device] | None = None,
) -> HyperCLIP:
  """Loads a trained model.

  Args:
    source: workdir of a training run (its newest checkpoint), folder written by
      `save_pretrained`, or published for ProLIP, official `.pth`, name of
      `list_pretrained`, or one of these on the hub: `hf-hub:org/name` or
      `hf-hub:org/name/FILE.pth`, with `@revision` after the name to pin a
      branch, tag or commit. A `.pth` of MERU or HyCoCLIP is taken for MERU's if
      its file name contains "meru", otherwise for HyCoCLIP's, which is used in
      the same way.
    vision_heads: attention heads of the image tower of a `.pth`, if its width
      is not one of the published models'.
    text_heads: attention heads of the text tower, likewise.
    trust_system: whether the model may be of a system of another package, which
      is then imported and may run any code.
    batch_size: most images or texts that a device computes at once. Fewer are
      computed in smaller batches.
    dtype: dtype of the towers, "float32" or "bfloat16", or JAX's of that name;
      None for that of the training. On CPUs float32 is faster.
    devices: devices of this process to encode on, such as
      `jax.local_devices()[:1]`; None for all.

  Returns:
    Model with the pixel normalisation that it was trained with.

  Raises:
    FileNotFoundError: there is no model, or a run without a checkpoint yet.
    ImportError: an extra is missing; the message says which.
    OSError: the hub cannot be reached, or has no such model.
    TypeError: `source` is neither a string nor a path, or another argument is
      of a wrong type.
    ValueError: it is not such a model, which lists keys missing and unexpected,
      its weights are not finite, or another argument has no meaning.
  """
  if not isinstance(source, str | os.PathLike):
    kind = type(source).__name__
    raise TypeError(f"source is of type {kind}: give a path or a name")
  given = {"vision_heads": vision_heads, "text_heads": text_heads}
  heads = [
    None if n is None else inputs.whole(name, n) for name, n in given.items()
  ]
  if not isinstance(trust_system, bool):
    raise TypeError(f"trust_system is {shown(repr(trust_system))}: give a bool")
  path, licence = located(os.fspath(source))
  found = _read(source, path, heads, trust_system)
  of_run = (path / CHECKPOINTS).is_dir()
  about = card.of_run(path) if of_run else card.of_release(path)
  options = found.options if dtype is None else _with_dtype(found, dtype)
  return HyperCLIP(
    found.system,
    options,
    found.variables,
    batch_size,
    trust_system,
    devices,
    about._replace(licence=licence or about.licence),
  )


def located(source: str) -> tuple[pathlib.Path, str]:
  """Finds the files of a model, downloaded if they are on the hub.

  Args:
    source: as for `load`.

  Returns:
    Path, which may not exist, and the licence of a model known by name.

  Raises:
    ImportError: the extra `hub` is missing.
    OSError: the hub cannot be reached, or has no such model.
    ValueError: it is not known where a model lies, or its digest is another.
  """
  path = files.expanded(source)
  by_name = not path.exists() and source in named.models()
  if by_name and (folder := named.bundled(source)):
    return folder, named.models()[source].licence
  address = named.source(source) if by_name else source
  if not address.startswith(hub.PREFIX):
    return path, ""
  others = (MODEL_FILE, OLD_FILE, card.CARD, *release.OTHER_FILES)
  path = hub.download(address, [WEIGHTS_FILE], others)
  if not by_name:
    return path, ""
  named.check(source, path)
  return path, named.models()[source].licence


def _read(
  source: Source,
  path: pathlib.Path,
  heads: Sequence[int | None],
  trust_system: bool,
) -> Release:
  """Reads a model of any form."""
  if path.is_file():
    return torch_checkpoint.load(path, *heads)
  if not path.is_dir():
    raise FileNotFoundError(
      f"{shown(source)}: no such file or folder; a model is the workdir of a "
      f"run, a folder of {MODEL_FILE} and {WEIGHTS_FILE}, "
      f"{hub.PREFIX}org/name, a .pth, or a name of list_pretrained()"
      f"{named.meant(os.fspath(source))}"
    )
  if any(heads):
    raise ValueError(f"{source}: heads are only needed for a .pth")
  if not (path / MODEL_FILE).exists():
    published = official.folder(path)
    if published is not None:
      return published
  if not any((path / name).exists() for name in (MODEL_FILE, OLD_FILE)):
    raise FileNotFoundError(
      f"{path / MODEL_FILE}: no such file; neither a run nor a released model"
      f"{_nearby(path)}"
    )
  system, options = release.described(path, trust_system)
  module = systems.find(system, trust_system)
  encoder = module.encoder(options)
  shapes = functools.partial(variable_shapes, encoder)
  if (path / CHECKPOINTS).is_dir() or not (path / WEIGHTS_FILE).exists():
    variables = _of_run(path, shapes())
  else:
    variables = release.read_weights(path, shapes)
  return Release(system, options, variables)


def _with_dtype(found: Release, dtype: Any) -> Any:
  """Changes the dtype of the towers."""
  if not isinstance(dtype, str):
    try:
      dtype = jnp.dtype(dtype).name
    except TypeError as error:
      raise TypeError(
        f"dtype is {shown(repr(dtype))}: give float32 or bfloat16"
      ) from error
  if not hasattr(found.options, "dtype"):
    raise ValueError(f"{found.system} has no dtype to choose")
  return dataclasses.replace(found.options, dtype=dtype)


def _of_run(workdir: pathlib.Path, shapes: Any) -> Any:
  """Reads the variables of a run's newest good checkpoint."""
  # Imported here since Orbax takes a second, and releases need none.
  from hyperclip_jax.checkpoints import checkpoint

  step, variables = checkpoint.restore_variables(workdir, shapes)
  flat = traverse_util.flatten_dict(dict(variables), sep=".")
  try:
    release.check_finite({k: np.asarray(leaf) for k, leaf in flat.items()})
  except ValueError as error:
    raise ValueError(f"{workdir}: step {step}: {error}") from error
  return variables


def _nearby(folder: pathlib.Path) -> str:
  """Suggests folders above or below that contain a model, for a message."""
  above = [*folder.resolve().parents][:3]  # run/checkpoints/STEP/state
  found = [f for f in above if (f / MODEL_FILE).is_file()][:1] or [
    path.parent for path in sorted(folder.glob(f"*/{MODEL_FILE}"))[:3]
  ]
  return f": give {' or '.join(map(str, found))}" if found else ""
