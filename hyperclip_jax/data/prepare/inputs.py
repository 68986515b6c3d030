"""Inputs: the files that `prepare` takes, and the samples in them.

- Tars of raw GRIT, of images with texts, and HyCoCLIP's processed ones, read as
  training reads them (`records.readers`). Boxes of raw records are fractions of
  the image unless another form is given; those in pixels were measured on an
  image of the JSON's `original_width` and `original_height`, or else of its
  `width` and `height`, or else on the image itself.
- Raw GRIT without its two lists, which are then columns of a parquet: see
  `columns` (needs the extra `prepare`).
- Grounded JSON with a folder of images: see `grounded`.

Nobody who wrote these files is trusted: a bad record is left out and counted,
only a file that cannot be read to its end is an error.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.prepare import columns, grounded
from hyperclip_jax.data.prepare.columns import Columns
from hyperclip_jax.data.prepare.grounded import Grounded
from hyperclip_jax.data.prepare.tally import BadInputError, Tally
from hyperclip_jax.data.records import (
  fields,
  grit,
  images,
  layouts,
  offsets,
  readers,
  shards,
)
from hyperclip_jax.data.records import sample as sample_lib
from hyperclip_jax.data.records.box_forms import Form
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.sample import Reading, Sample

# Fields of a raw record that a prepared one has elsewhere, or no reader of.
_MOVED = ("caption", "key", "exif", *grit.LISTS)
_FOLDERS = 100  # that are searched for an image
_SAMPLES, _STRETCH = 8, 4096  # of a file that tell it from another


class Tar(NamedTuple):
  """A tar: the input of one shard."""

  path: str


Source = Tar | Grounded


def find(
  patterns: Sequence[str], folder: str | None, shard_size: int
) -> list[Source]:
  """The inputs of all shards, in sorted order.

  Args:
    patterns: paths and globs of tars and grounded JSONs.
    folder: of a JSON's images; that of the JSON if None.
    shard_size: images of a JSON that make one shard.

  Raises:
    ValueError: a file of another kind, a bad JSON, or `folder` without one.
    OSError: nothing matches a pattern, or a JSON cannot be read.
  """
  for pattern in patterns:
    _check_folder(os.path.expanduser(pattern))
  paths = shards.expand(patterns)
  if folder is not None:
    if not any(path.endswith(".json") for path in paths):
      raise ValueError(f"--images={folder} is for a JSON, and no input is one")
    if not os.path.isdir(folder):
      raise ValueError(f"--images={folder} is not a folder")
  sources: list[Source] = []
  for path in paths:
    if path.endswith(".json"):
      where = os.path.dirname(path) if folder is None else folder
      sources += grounded.cut(path, where, shard_size)
    elif path.endswith(".tar"):
      sources.append(Tar(path))
    else:
      raise ValueError(_of_no_kind(path))
  return sources


def _check_folder(path: str) -> None:
  """Raises ValueError for a folder of images, and says how to pack it."""
  if not os.path.isdir(path) or any(
    n.endswith(".tar") for n in os.listdir(path)
  ):
    return
  for _, _, names in itertools.islice(os.walk(path), _FOLDERS):
    if any(name.lower().endswith(images.SUFFIXES) for name in names):
      raise ValueError(f"--input={_packing(path)}")


def _packing(folder: str) -> str:
  """How to make the images of a folder an input."""
  name = files.shown(folder.rstrip("/") or "/")
  return (
    f"{name} is a folder of images (img2dataset --output_format files); pack "
    f"it, or each of its folders: tar --sort=name -C {name} -cf {name}.tar ."
  )


def _of_no_kind(path: str) -> str:
  """What to say of an input that cannot be taken."""
  name = files.shown(path)
  if path.lower().endswith(images.SUFFIXES):
    return f"--input matches {name}: {_packing(os.path.dirname(path) or '.')}"
  if path.endswith(".parquet"):
    return (
      f"--input matches {name}; a parquet is found by the tar beside it, and "
      "one that holds the images (img2dataset --output_format parquet) is not "
      "read: download with --output_format webdataset"
    )
  return (
    f"--input matches {name}; want NAME.tar, or NAME.json with a folder of "
    "images"
  )


def describe(source: Source) -> dict[str, Any]:
  """What a manifest says of an input; it changes where the input is replaced.

  Raises:
    OSError: the file is not there.
  """
  found = {
    "path": source.path,
    "bytes": os.path.getsize(source.path),
    "digest": _digest(source.path),
  }
  if isinstance(source, Grounded):
    end = source.start + len(source.entries)
    return found | {
      "images": [source.start, end],
      "images_digest": grounded.digest(source),
    }
  beside = columns.beside(source.path)
  there = os.path.exists(beside)
  return found | {"parquet_digest": _digest(beside) if there else ""}


def _digest(path: str) -> str:
  """A digest of some stretches of a file, the first and the last included."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    last = max(os.path.getsize(path) - _STRETCH, 0)
    for i in range(_SAMPLES):
      file.seek(last * i // (_SAMPLES - 1))
      digest.update(file.read(_STRETCH))
  return digest.hexdigest()[:32]


def form(source: Source, unit: str, ends: str) -> Form:
  """The form of an input's boxes: as given, or for "" that of its layout."""
  usual = grounded.FORM if isinstance(source, Grounded) else Form()
  return Form(unit or usual.unit, ends or usual.ends)


def read(source: Source, tally: Tally, reading: Reading) -> Iterator[Record]:
  """Yields the records of an input.

  Args:
    source: the input.
    tally: counts records that are left out.
    reading: how its boxes are read.

  Raises:
    BadInputError: the file is damaged, of an unknown layout or unreadable.
    ModuleNotFoundError: its boxes are in a parquet, and pyarrow is missing.
  """
  if isinstance(source, Grounded):
    found = grounded.samples(source, tally)
  else:
    found = _of_tar(source.path, tally)
  try:
    for key, get in found:
      try:
        sample = get()
        tally.look(sample.found(reading.upright))
        where = f"{source.path}: record {key!r}"
        record = sample_lib.cleaned(sample, where, reading)
      except RecordError as error:
        tally.reject(error.reason, key)
      else:
        yield record
  except (ValueError, OSError) as error:
    raise BadInputError(str(error)) from error


def _of_tar(
  path: str, tally: Tally
) -> Iterator[tuple[str, Callable[[], Sample]]]:
  """Yields the key of each record of a tar, and what reads it."""
  found = layouts.sort(path)
  if found.layout is layouts.PREPARED:
    raise ValueError(f"{path}: is prepared already; give the input it was of")
  for reason, keys in (
    ("missing member", found.incomplete),
    ("duplicate key", found.repeated),
  ):
    for key in keys:
      tally.reject(reason, key)
  index, beside = offsets.of(path, found), Columns(columns.beside(path))
  for i, key in enumerate(found.complete):
    yield key, functools.partial(_sample, index, i, key, beside)


def _sample(
  index: offsets.Index, number: int, key: str, beside: Columns
) -> Sample:
  """A record of a tar; a raw one with its row of the parquet beside it."""
  where = f"{index.path}: record {key!r}"
  _, members = index.read(number)
  if index.layout is not layouts.RAW:
    return index.layout.read(where, key, members)
  meta = fields.json_object(members["json"], "json", where)
  meta = beside.joined(key, meta)
  sample = readers.of_fields(where, key, members["jpg"], meta)
  kept = {name: meta[name] for name in meta if name not in _MOVED}
  return sample._replace(meta=kept)
