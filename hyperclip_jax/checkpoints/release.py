"""The release format: a folder of `config.json` and `model.safetensors`.

config.json says all that the weights do not: architecture, objective, pixel
mean and std, image size. Its "format" tells it from a training run's.
"""

import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hyperclip_jax import files
from hyperclip_jax.checkpoints import file_kinds, tensors
from hyperclip_jax.files import shown, write_whole
from hyperclip_jax.nn.text import TextTransformer
from hyperclip_jax.nn.vit import ViT
from hyperclip_jax.systems.dual_encoder import DualEncoder, param_shapes
from hyperclip_jax.systems.objectives import OBJECTIVES
from hyperclip_jax.training.config import DTYPES

FORMAT, VERSION = "hyperclip-jax", 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MAX_CONFIG = 1_000_000  # bytes
MAX_SIZE = 65_536  # of any width, depth or vocabulary
MAX_PATCHES = 16_384  # an image; positions are made before weights are read
SHOWN = 4  # keys of each kind in a message

SIZES = {
  "vision": ("width", "depth", "heads", "patch"),
  "text": ("width", "depth", "heads", "vocab", "context"),
}


class Release(NamedTuple):
  """A model to share.

  Attributes:
    objective: "hycoclip", "meru" or "clip".
    model: with its pixel mean and std.
    params: float32.
    image_size: side of the square it reads.
  """

  objective: str
  model: DualEncoder
  params: Any
  image_size: int


def is_release(config: Mapping[str, Any]) -> bool:
  """Whether a config.json is of this format, and not a training run's."""
  return config.get("format") == FORMAT


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """A config.json of either kind.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is no JSON object.
  """
  absent = file_kinds.absent(path)
  if absent:
    raise ValueError(f"{path}: {absent}")
  config = files.read_json(path, MAX_CONFIG)
  if not isinstance(config, dict):
    raise ValueError(f"{path}: no JSON object")
  return config


def write(folder: str | pathlib.Path, release: Release) -> None:
  """Writes a release; one that is there already is replaced.

  Args:
    folder: folder to write to, made where it is missing.
    release: model to write.

  Raises:
    FileExistsError: the folder holds another kind of config.json.
    OSError: it cannot be written, such as for want of room.
  """
  folder = files.expanded(folder)
  path = folder / CONFIG_FILE
  if path.exists() and not is_release(read_json(path)):
    raise FileExistsError(
      f"{path} belongs to a training run or another program: give another "
      "folder"
    )
  flat = traverse_util.flatten_dict(release.params, sep=".")
  arrays = {name: np.asarray(leaf) for name, leaf in flat.items()}
  tensors.write(folder / WEIGHTS_FILE, arrays, {"format": FORMAT})
  write_whole(path, json.dumps(_config(release), indent=2) + "\n")


def read(folder: pathlib.Path) -> Release:
  """Reads a release back.

  Raises:
    FileNotFoundError: one of the two files is missing.
    ValueError: the config is not of this format, or the weights do not fit it
      or are not finite; keys missing and unexpected are listed.
  """
  path = folder / CONFIG_FILE
  config = read_json(path)
  problems = list(_problems(config))
  if problems:
    raise ValueError(f"{path}: " + "; ".join(problems))
  towers = config["model"]
  model = DualEncoder(
    vision=ViT(**towers["vision"], dtype=jnp.dtype(towers["dtype"])),
    text=TextTransformer(**towers["text"], dtype=jnp.dtype(towers["dtype"])),
    embed_dim=towers["embed_dim"],
    hyperbolic=config["objective"] != "clip",
    pixel_mean=tuple(map(float, config["pixel_mean"])),
    pixel_std=tuple(map(float, config["pixel_std"])),
  )
  params = _read_weights(folder / WEIGHTS_FILE, model)
  return Release(config["objective"], model, params, config["image_size"])


def _config(release: Release) -> dict[str, Any]:
  model = release.model
  towers = {"vision": model.vision, "text": model.text}
  sizes: dict[str, Any] = {
    tower: {name: getattr(towers[tower], name) for name in names}
    for tower, names in SIZES.items()
  }
  return {
    "format": FORMAT,
    "format_version": VERSION,
    "objective": release.objective,
    "image_size": release.image_size,
    "pixel_mean": list(model.pixel_mean),
    "pixel_std": list(model.pixel_std),
    "model": sizes
    | {
      "embed_dim": model.embed_dim,
      "dtype": jnp.dtype(model.vision.dtype).name,
    },
  }


def _problems(config: dict[str, Any]) -> Iterator[str]:
  """What is wrong with a config; the first thing hides the rest."""
  if not is_release(config) or config.get("format_version") != VERSION:
    yield (
      f'"format" must be {FORMAT!r} of "format_version" {VERSION}, found '
      f"{_found(config.get('format'))} of "
      f"{_found(config.get('format_version'))}"
    )
    return
  flat: dict[tuple[str, ...], Any] = dict(traverse_util.flatten_dict(config))
  found = {".".join(path): value for path, value in flat.items()}
  sizes = [f"model.{tower}.{n}" for tower in SIZES for n in SIZES[tower]]
  sizes += ["model.embed_dim", "image_size"]
  wanted = {"format", "format_version", "objective", "pixel_mean", "pixel_std"}
  wanted |= {"model.dtype", *sizes}
  if flat.keys() != {tuple(name.split(".")) for name in wanted}:
    yield differing(found, wanted)
    return
  bad = [n for n in sizes if not _is_size(found[n])]
  if bad:
    yield f"{bad[0]} must be 1 to {MAX_SIZE:,}, found {_found(found[bad[0]])}"
    return
  for name, choices in (("objective", OBJECTIVES), ("model.dtype", DTYPES)):
    if found[name] not in list(choices):
      value = _found(found[name])
      yield f"{name} must be one of {list(choices)}, found {value}"
  for name, least in (("pixel_mean", -math.inf), ("pixel_std", 0.0)):
    if not _are_channels(found[name], least):
      yield f"{name} must be three numbers, found {_found(found[name])}"
  for tower in SIZES:
    width, heads = (found[f"model.{tower}.{n}"] for n in ("width", "heads"))
    if width % heads or width % 4:
      yield f"model.{tower}.width {width} must divide by {heads} heads and by 4"
  side, rest = divmod(found["image_size"], found["model.vision.patch"])
  if rest or not 0 < side**2 <= MAX_PATCHES:
    yield (
      f"image_size {found['image_size']} must be a multiple of the patch "
      f"{found['model.vision.patch']}, and at most {MAX_PATCHES:,} patches"
    )


def _found(value: Any) -> str:
  return shown(repr(value))


def _is_size(value: Any) -> bool:
  return type(value) is int and 1 <= value <= MAX_SIZE


def _are_channels(values: Any, least: float) -> bool:
  return (
    isinstance(values, list)
    and len(values) == 3
    and all(type(v) in (int, float) and least < v < math.inf for v in values)
  )


def _read_weights(path: pathlib.Path, model: DualEncoder) -> Any:
  shapes = traverse_util.flatten_dict(param_shapes(model), sep=".")
  wanted: dict[str, Any] = dict(shapes)
  with tensors.opened(path) as file:
    if set(file.keys()) != wanted.keys():
      raise ValueError(f"{path}: {differing(file.keys(), wanted)}")
    for name, leaf in wanted.items():
      entry = file.get_slice(name)
      found = (entry.get_dtype(), tuple(entry.get_shape()))
      if found != ("F32", leaf.shape):
        raise ValueError(
          f"{path}: key {name!r} is {found[0]} {shown(found[1])}, "
          f"the config wants F32 {leaf.shape}"
        )
    flat = {name: file.get_tensor(name) for name in wanted}
  try:
    check_finite(flat)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  return traverse_util.unflatten_dict(flat, sep=".")


def differing(found: Iterable[str], wanted: Iterable[str]) -> str:
  """The first keys missing and unexpected, for a message."""

  def few(names: set[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    first = (shown(name) for name in sorted(names)[:SHOWN])
    return (", ".join(first) + more) or "nothing"

  found, wanted = set(found), set(wanted)
  return f"missing {few(wanted - found)}; unexpected {few(found - wanted)}"


def check_finite(weights: Mapping[str, np.ndarray]) -> None:
  """Refuses weights that hold NaN or infinity.

  Raises:
    ValueError: the first key that does.
  """
  for name, array in weights.items():
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
      raise ValueError(
        f"key {shown(name)} holds NaN or infinity in {bad:,} of "
        f"{array.size:,} values: the file is damaged, or its training diverged"
      )
