"""Inputs: the foreign layouts that `prepare` takes, read as samples.

- Raw GRIT tars as img2dataset leaves them: KEY.jpg (or png, webp) and KEY.json
  with `noun_chunks` and `ref_exps`, whose rows are [start, end, x1, y1, x2, y2,
  score]: offsets into the caption, and fractions of the image.
- The same without these two lists, which are then columns of the parquet that
  img2dataset writes beside the tar: NNNNN.tar and NNNNN.parquet, joined on
  `key` (needs the extra `prepare`).
- HyCoCLIP's processed tars: KEY.child.jpg, KEY.child.txt, KEY.numparents.txt,
  KEY.parentNNN.jpg and KEY.parentNNN.txt. Crops, no boxes.
- Grounded JSON with a folder of images: see `grounded`.

Nobody who wrote these files is trusted: a bad record is left out and counted,
only a file that cannot be read to its end is an error.
"""

import functools
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hyperclip_jax.data import boxes, grounded, shards, tars
from hyperclip_jax.data import sample as sample_lib
from hyperclip_jax.data.grounded import Grounded
from hyperclip_jax.data.record import IMAGE_SUFFIXES
from hyperclip_jax.data.sample import (
  BadInputError,
  Phrase,
  Rejected,
  Sample,
  Tally,
)
from hyperclip_jax.data.tars import Member

_PARENT = re.compile(r"parent([0-9]{1,9})\.jpg")
_ROWS = ("noun_chunks", "ref_exps")
# Fields of a raw record that a prepared one has elsewhere, or no reader of.
_MOVED = ("caption", "key", "exif", *_ROWS)


class Tar(NamedTuple):
  """A tar: the input of one shard."""

  path: str


Source = Tar | Grounded


def find(
  patterns: Sequence[str], images: str | None, shard_size: int
) -> list[Source]:
  """The inputs of all shards, in sorted order.

  Args:
    patterns: paths and globs of tars and grounded JSONs.
    images: folder of a JSON's images; that of the JSON if None.
    shard_size: images of a JSON that make one shard.

  Raises:
    ValueError: a file of another kind, a bad JSON, or `images` without one.
    OSError: nothing matches a pattern, or a JSON cannot be read.
  """
  paths = shards.expand(patterns)
  if images is not None:
    if not any(path.endswith(".json") for path in paths):
      raise ValueError(f"--images={images} is for a JSON, and no input is one")
    if not os.path.isdir(images):
      raise ValueError(f"--images={images} is not a folder")
  sources: list[Source] = []
  for path in paths:
    if path.endswith(".json"):
      folder = os.path.dirname(path) if images is None else images
      sources += grounded.cut(path, folder, shard_size)
    elif path.endswith(".tar"):
      sources.append(Tar(path))
    else:
      raise ValueError(
        f"--input matches {path}; want NAME.tar, or NAME.json with a folder of "
        "images (a parquet is found by the tar beside it)"
      )
  return sources


def describe(source: Source) -> dict[str, Any]:
  """What a manifest says of an input.

  Raises:
    OSError: the file is not there.
  """
  found = {"path": source.path, "bytes": os.path.getsize(source.path)}
  if isinstance(source, Grounded):
    found["images"] = [source.start, source.start + len(source.entries)]
  return found


def read(source: Source, tally: Tally) -> Iterator[Sample]:
  """Yields the samples of an input; what is left out is counted in `tally`.

  Raises:
    BadInputError: the file is damaged, of an unknown layout or unreadable.
    ModuleNotFoundError: its boxes are in a parquet, and pyarrow is missing.
  """
  if isinstance(source, Grounded):
    yield from grounded.read(source, tally)
    return
  try:
    yield from _read_tar(source.path, tally)
  except (ValueError, OSError) as error:
    raise BadInputError(str(error)) from error


def _read_tar(path: str, tally: Tally) -> Iterator[Sample]:
  seen: set[str] = set()
  unknown: set[str] = set()
  parquet = _Parquet(os.path.splitext(path)[0] + ".parquet")
  for key, members in tars.groups(path):
    if key in seen:
      tally.reject("duplicate key", key)
      continue
    seen.add(key)
    try:
      if any(name in members for name in ("child.jpg", "numparents.txt")):
        sample = _processed(key, members, tally)
      elif "json" in members:
        sample = _raw(key, members, parquet, tally)
      else:
        unknown.update(members)
        raise Rejected("missing member")
    except Rejected as error:
      tally.reject(str(error), key)
    else:
      yield sample
  if seen and tally.records["missing member"] == len(seen) and unknown:
    found = ", ".join(sorted(unknown)[:12])
    raise ValueError(
      f"{path}: no record, only members with the suffixes {found}; want raw "
      "GRIT (KEY.jpg, KEY.json) or HyCoCLIP processed records (KEY.child.jpg, "
      "KEY.child.txt, KEY.numparents.txt, KEY.parentNNN.jpg, KEY.parentNNN.txt)"
    )


def _raw(
  key: str, members: Mapping[str, Member], parquet: "_Parquet", tally: Tally
) -> Sample:
  """A raw GRIT record, with the columns of the parquet if it needs them."""
  image = next((members[s] for s in IMAGE_SUFFIXES if s in members), None)
  if image is None:
    raise Rejected("missing member")
  try:
    meta = json.loads(_text(members["json"]))
  except (ValueError, RecursionError) as error:
    raise Rejected("bad json") from error
  if not isinstance(meta, dict):
    raise Rejected("bad json")
  fields = meta
  if not any(name in meta for name in _ROWS):
    fields = parquet.row(key.rpartition("/")[2]) | meta
  caption = fields.get("caption")
  if not isinstance(caption, str):
    raise Rejected("no caption")
  phrases = []
  for name in _ROWS:
    rows = fields.get(name)
    if not isinstance(rows, (list, type(None))):
      raise Rejected("bad json")
    for row in rows or []:
      values = sample_lib.floats(row, 7)
      if values is None:
        tally.boxes["bad row"] += 1
        continue
      start, end, x1, y1, x2, y2, _ = values
      text = sample_lib.span(caption, start, end)
      if text is None:
        tally.boxes["bad offsets"] += 1
        continue
      phrases.append(Phrase(text, (x1, y1, x2, y2)))
  return Sample(
    key,
    caption,
    _bytes(image, sample_lib.MAX_IMAGE_BYTES),
    tuple(phrases),
    meta={k: v for k, v in meta.items() if k not in _MOVED},
  )


def _processed(key: str, members: Mapping[str, Member], tally: Tally) -> Sample:
  """A record of HyCoCLIP's processed shards."""
  needed = ("child.jpg", "child.txt", "numparents.txt")
  if any(name not in members for name in needed):
    raise Rejected("missing member")
  numbers = sorted(
    (int(match[1]), match[0])
    for match in map(_PARENT.fullmatch, members)
    if match
  )
  if _text(members["numparents.txt"]).strip() != str(len(numbers)):
    raise Rejected("parents miscounted")
  phrases, crops = [], []
  for _, name in numbers:
    text = members.get(name.removesuffix("jpg") + "txt")
    if text is None:
      tally.boxes["no phrase"] += 1
      continue
    phrases.append(Phrase(_text(text), boxes.WHOLE))
    crops.append(_bytes(members[name], sample_lib.MAX_IMAGE_BYTES))
  return Sample(
    key,
    _text(members["child.txt"]),
    _bytes(members["child.jpg"], sample_lib.MAX_IMAGE_BYTES),
    tuple(phrases),
    tuple(crops),
  )


class _Parquet:
  """The rows of a parquet by their key, read when first asked for."""

  def __init__(self, path: str):
    self.path = path

  def row(self, key: str) -> dict[str, Any]:
    """The wanted columns of a row; {} where there is no parquet."""
    if self._rows is None:
      return {}
    if key not in self._rows:
      raise Rejected("no parquet row")
    return self._rows[key]

  @functools.cached_property
  def _rows(self) -> dict[str, dict[str, Any]] | None:
    if not os.path.exists(self.path):
      return None
    try:
      parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
      raise ModuleNotFoundError(
        f"the boxes are in {self.path}, and pyarrow is not installed: "
        "pip install 'hyperclip-jax[prepare]'"
      ) from error
    try:
      with parquet.ParquetFile(self.path) as file:
        names = set(file.schema_arrow.names)
        if "key" not in names:
          raise ValueError("it has no column 'key'")
        wanted = [n for n in ("key", "caption", *_ROWS) if n in names]
        return {
          str(row.pop("key")): row
          for batch in file.iter_batches(1024, columns=wanted)
          for row in batch.to_pylist()
        }
    except Exception as error:  # pyarrow has many of its own
      raise BadInputError(f"{self.path}: cannot read it ({error})") from error


def _bytes(member: Member, limit: int) -> bytes:
  if member.size > limit:
    raise Rejected("member too large")
  return member.read()


def _text(member: Member) -> str:
  try:
    return _bytes(member, sample_lib.MAX_TEXT_BYTES).decode("utf-8")
  except UnicodeDecodeError as error:
    raise Rejected("not utf-8") from error
