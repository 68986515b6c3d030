"""Manifests of prepared folders.

`NNNNN.json` is written after `NNNNN.tar` and marks it as complete;
`manifest.json` is written when all shards are complete. They hold the options
and inputs of the shards, their content, and what was left out.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from hyperclip_jax import files
from hyperclip_jax.data.records import box_forms, tars

MANIFEST = "manifest.json"

_OURS = re.compile(r"([0-9]{5})\.(tar|json|tar\.index)|manifest\.json")
# Fields that identify an input besides its name; see `inputs.describe`.
_KNOWN = ("bytes", "images", "digest", "parquet_digest", "images_digest")
# Temporary files of `replacing` and of indices; only these are removed.
_STRAY = re.compile(
  r"([0-9]{5}\.(tar|json)|manifest\.json)\.[0-9a-f]{8}\.tmp"
  r"|\.index-[a-z0-9_]{8}"
)


@runtime_checkable
class Recipe(Protocol):
  """Options of all shards of a folder: a NamedTuple, all with defaults."""

  @property
  def FORMAT(self) -> str:
    """Name of the layout."""
    ...

  @property
  def VERSION(self) -> int:
    """Version of the layout and of the conversion."""
    ...

  def _asdict(self) -> dict[str, Any]: ...


class Options(NamedTuple):
  """Options that determine the bytes of every shard of a folder.

  Attributes:
    min_side: smallest side of a box in pixels of the image as found.
    long_side: long side of the stored images in pixels; smaller ones keep their
      size.
    quality: quality of written JPEGs.
    crops: whether to store the crop of each part, cut from the image as found.
    require_boxes: whether to leave out records without a good box.
    shard_size: number of images of a grounded JSON in a shard.
    boxes: unit of the boxes; "" for that of the layout.
    box_format: "xyxy" or "xywh"; "" for that of the layout.
    upright: whether to turn images as their EXIF orientation says, if boxes
      refer to upright images. By default they are used as stored.
  """

  FORMAT = "hyperclip-prepared"
  VERSION = 1

  min_side: int = 32
  long_side: int = 512
  quality: int = 92
  crops: bool = False
  require_boxes: bool = False
  shard_size: int = 10_000
  boxes: str = ""
  box_format: str = ""
  upright: bool = False


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """Result of one input.

  Attributes:
    number: number of the shard.
    source: the input, as described by `inputs.describe`.
    records: number of records in the shard.
    parts: number of parts of all its records.
    bytes: size of the tar.
    sha256: digest of the tar, in hexadecimal.
    rejected_records: reason -> number of records left out.
    rejected_boxes: reason -> number of boxes and phrases left out of the other
      records.
    examples: reason -> key of the first record left out for it.
    skipped: why there is no shard; "" if there is one.
  """

  number: int
  source: dict[str, Any]
  records: int = 0
  parts: int = 0
  bytes: int = 0
  sha256: str = ""
  rejected_records: dict[str, int] = dataclasses.field(default_factory=dict)
  rejected_boxes: dict[str, int] = dataclasses.field(default_factory=dict)
  examples: dict[str, str] = dataclasses.field(default_factory=dict)
  skipped: str = ""


def tar_name(number: int) -> str:
  """Returns the file name of a shard."""
  return f"{number:05d}.tar"


def json_name(number: int) -> str:
  """Returns the file name of a shard's result."""
  return f"{number:05d}.json"


def validate(options: Options) -> None:
  """Raises ValueError if an option is out of range."""
  ranges = {
    "min_side": (1, 1 << 16),
    "long_side": (32, 8192),
    "quality": (1, 100),
    "shard_size": (1, 100_000),
  }
  for name, (low, high) in ranges.items():
    value = getattr(options, name)
    if not low <= value <= high:
      raise ValueError(f"--{name}={value}: want {low} to {high}")
  choices = {
    "boxes": box_forms.UNITS,
    "box_format": (box_forms.CORNERS, box_forms.SIZES),
  }
  for name, values in choices.items():
    value = getattr(options, name)
    if value and value not in values:
      raise ValueError(f"--{name}={value}: want one of {', '.join(values)}")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
  """Opens a file that replaces `path` at the end, once flushed to disk."""
  work = f"{path}.{secrets.token_hex(4)}.tmp"
  try:
    with open(work, "xb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(work, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
      os.fsync(folder)
    finally:
      os.close(folder)
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(work)


def clear(folder: str) -> None:
  """Removes temporary files of a killed run."""
  for name in filter(_STRAY.fullmatch, os.listdir(folder)):
    os.unlink(os.path.join(folder, name))


def check(folder: str) -> None:
  """Raises ValueError if a folder contains files not written by `prepare`."""
  for name in sorted(os.listdir(folder)):
    if _STRAY.fullmatch(name):
      continue
    match = _OURS.fullmatch(name)
    if match is None or not _is_ours(folder, match):
      raise ValueError(
        f"{folder} holds {files.shown(name)}, which is not part of a prepared "
        "folder; give --output a new or empty one"
      )


def _is_ours(folder: str, match: re.Match[str]) -> bool:
  """Checks that a file of a matching name is not a raw shard or the like."""
  if match[2] != "tar" or os.path.exists(f"{folder}/{match[1]}.json"):
    return True  # JSONs are checked when they are read
  try:
    groups = tars.groups(os.path.join(folder, match[0]))
    return all("parts.json" in members for _, members in groups)
  except ValueError:
    return False


def save_result(folder: str, options: Recipe, result: ShardResult) -> None:
  """Writes NNNNN.json.

  Args:
    folder: folder of the shards.
    options: options of the folder.
    result: result to save.
  """
  path = os.path.join(folder, json_name(result.number))
  _save(path, _head(options) | {"shard": _to_json(result)})


def save(
  folder: str, options: Recipe, results: Sequence[ShardResult]
) -> dict[str, Any]:
  """Writes manifest.json.

  Args:
    folder: folder of the shards.
    options: options of the folder.
    results: results of all shards.

  Returns:
    Content of the manifest.
  """
  found = content(options, results)
  _save(os.path.join(folder, MANIFEST), found)
  return found


def content(options: Recipe, results: Sequence[ShardResult]) -> dict[str, Any]:
  """Makes the content of a manifest of some shards."""
  results = sorted(results, key=lambda result: result.number)
  return _head(options) | {
    "totals": totals(results),
    "shards": [_to_json(result) for result in results],
  }


def totals(results: Sequence[ShardResult]) -> dict[str, Any]:
  """Sums the results of all shards."""
  records, parts = Counter[str](), Counter[str]()
  for result in results:
    records.update(result.rejected_records)
    parts.update(result.rejected_boxes)
  return {
    "shards": sum(not result.skipped for result in results),
    "skipped": sum(bool(result.skipped) for result in results),
    "records": sum(result.records for result in results),
    "parts": sum(result.parts for result in results),
    "bytes": sum(result.bytes for result in results),
    "rejected_records": dict(sorted(records.items())),
    "rejected_boxes": dict(sorted(parts.items())),
  }


def finished(
  folder: str, options: Recipe, sources: Sequence[dict[str, Any]]
) -> list[ShardResult]:
  """Finds the complete shards of a folder.

  Args:
    folder: folder that may be partly filled.
    options: options of the run that continues.
    sources: its inputs (`inputs.describe`), by number of the shard.

  Returns:
    Results of the complete shards.

  Raises:
    ValueError: the folder was made with other options or from other inputs.
  """
  results = []
  for name in sorted(os.listdir(folder)):
    if name == MANIFEST or not name.endswith(".json"):
      continue
    path = os.path.join(folder, name)
    result = load_result(path, options)
    there = sources[result.number : result.number + 1]
    if not there or not _same(there[0], result.source):
      raise ValueError(
        f"{path} was made from {_identity(result.source)}, which is now "
        f"{_identity(there[0]) if there else 'no input'}; give the same inputs "
        "(new ones may sort after them) or another --output"
      )
    tar = os.path.join(folder, tar_name(result.number))
    if os.path.exists(tar) and os.path.getsize(tar) == result.bytes:
      results.append(result)
  return results


def _same(now: dict[str, Any], before: dict[str, Any]) -> bool:
  """Checks whether an input is the one that a shard was made from.

  Its folder may change, as mounts do. Shards of earlier releases lack some
  digests.
  """
  known = [name for name in _KNOWN if name in before]
  return _name(now) == _name(before) and all(
    now.get(name) == before[name] for name in known
  )


def _name(source: dict[str, Any]) -> str:
  return os.path.basename(str(source.get("path")))


def _identity(source: dict[str, Any]) -> str:
  """Describes an input with all that identifies it."""
  found = [
    f"{name.replace('_', ' ')} {source[name] or 'none'}"
    for name in _KNOWN[1:]
    if name in source
  ]
  size = f" of {source['bytes']} bytes" if "bytes" in source else ""
  return files.shown(", ".join([_name(source) + size, *found]))


def _head(options: Recipe) -> dict[str, Any]:
  head = {"format": options.FORMAT, "version": options.VERSION}
  return head | {"options": options._asdict()}


def _to_json(result: ShardResult) -> dict[str, Any]:
  row = dataclasses.asdict(result)
  return {k: v for k, v in row.items() if v or k in ("number", "records")}


def from_json(row: dict[str, Any]) -> ShardResult:
  """Checks and converts the JSON of a result.

  Raises:
    TypeError: a field is missing or of the wrong type.
  """
  result, blank = ShardResult(**row), ShardResult(0, {})
  for name, value in vars(result).items():
    if type(value) is not type(getattr(blank, name)):
      raise TypeError(f"{name} is {value!r}")
  return result


def load_result(path: str, options: Recipe) -> ShardResult:
  """Reads NNNNN.json.

  Args:
    path: JSON file.
    options: options of the run that continues.

  Returns:
    Result of the shard.

  Raises:
    ValueError: it is not such a file, or was made with other options.
  """
  try:
    content = load(path, options)
    result = from_json(content["shard"])
    # with options added since
    made = type(options)()._asdict() | content["options"]
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{path}: not the JSON of a prepared shard ({files.shown(repr(error))}); "
      "remove it, or "
      "give another --output"
    ) from error
  if made != options._asdict():
    differing = ", ".join(
      f"--{name}={files.shown(made.get(name))} (now {value})"
      for name, value in options._asdict().items()
      if made.get(name) != value
    )
    raise ValueError(
      f"{path} was made with {differing}; give the same options or another "
      "--output"
    )
  return result


def load(path: str, recipe: Any) -> dict[str, Any]:
  """Reads a JSON file of a format and version.

  Args:
    path: JSON file.
    recipe: options of that format, or their type.

  Returns:
    Content of the file.

  Raises:
    ValueError: it is of another format or version.
    OSError: it cannot be read.
  """
  with open(path, "rb") as file:
    content = json.load(file)
  if not isinstance(content, dict):
    raise ValueError("not an object")
  wanted = recipe.FORMAT, recipe.VERSION
  if (content.get("format"), content.get("version")) != wanted:
    raise ValueError("want format {!r}, version {}".format(*wanted))
  return content


def _save(path: str, content: dict[str, Any]) -> None:
  with replacing(path) as file:
    file.write(json.dumps(content, indent=1).encode())
    file.write(b"\n")
