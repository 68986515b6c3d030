"""Finds the input files of `prepare`, and reads samples from them.

- Tars of raw GRIT, tars of images with texts, and HyCoCLIP's processed tars,
  read as in training (`records.readers`). Boxes of raw records are fractions of
  the image unless another form is given; those in pixels refer to an image of
  the JSON's `original_width` and `original_height`, or else of its `width` and
  `height`, or else to the image itself.
- Raw GRIT without its two lists, which are then columns of a parquet file: see
  `columns` (needs the extra `prepare`).
- Grounded JSON with a folder of images: see `grounded`.
- Tables of image files and captions, and folders of both, without boxes: see
  `tables`.
- Folders of images by class, whose names are the captions: see `folders`.
- Labelled images of TensorFlow Datasets, tfds:NAME:SPLIT: see `tfds_splits`.

These files are untrusted: a bad record is left out and counted; only a file
that cannot be read to its end is an error.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.prepare import (
  columns,
  folders,
  grounded,
  tables,
  tfds_splits,
)
from hyperclip_jax.data.prepare.columns import Columns
from hyperclip_jax.data.prepare.grounded import Grounded
from hyperclip_jax.data.prepare.tables import Table
from hyperclip_jax.data.prepare.tally import BadInputError, Tally
from hyperclip_jax.data.prepare.tfds_splits import Split
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

# Fields of a raw record that a prepared one stores elsewhere, or never uses.
_MOVED = ("caption", "key", "exif", *grit.LISTS)
_FOLDERS = 100  # searched for an image
_SAMPLES, _STRETCH = 8, 4096  # parts of a file in its digest, and their bytes


class Tar(NamedTuple):
  """A tar file: the input of one shard."""

  path: str


Source = Tar | Grounded | Table | Split


def find(
  patterns: Sequence[str], folder: str | None, shard_size: int
) -> list[Source]:
  """Finds the inputs of all shards.

  Args:
    patterns: paths and globs of tars, grounded JSONs and tables, folders of
      tars, tables, classes, or images with texts beside them, or
      tfds:NAME:SPLIT.
    folder: folder of the images of a JSON or table, or of the data sets of
      TFDS; None for their own.
    shard_size: number of images in one shard of what is not a tar.

  Returns:
    Inputs: data sets and folders of classes as given, then files in sorted
    order.

  Raises:
    ValueError: a file is of another kind, a JSON or table is bad, or `folder`
      is given without one.
    OSError: a pattern matches nothing, or a file cannot be read.
    ModuleNotFoundError: a table needs pyarrow, or a data set
      tensorflow-datasets.
  """
  if folder is not None and not os.path.isdir(folder):
    raise ValueError(f"--images={folder} is not a folder")
  sources: list[Source] = []
  others = []
  for pattern in patterns:
    path = os.path.expanduser(pattern)
    if pattern.startswith(tfds_splits.PREFIX):
      sources += tfds_splits.cut(pattern, folder, shard_size)
    elif _without_files(path) and folders.has_classes(path):
      sources += folders.cut(path, shard_size)
    else:
      names = _of_folder(pattern)
      for name in filter(tables.is_folder, names):
        sources += tables.cut(name, name, shard_size)
      others += [name for name in names if not tables.is_folder(name)]
  paths = shards.expand(others) if others else []
  if folder is not None and not (
    any(isinstance(source, Split) for source in sources)
    or any(path.endswith((".json", *tables.SUFFIXES)) for path in paths)
  ):
    raise ValueError(
      f"--images={folder} needs a JSON or a table among the inputs"
    )
  for path in paths:
    where = os.path.dirname(path) or "." if folder is None else folder
    if path.endswith(".json"):
      sources += grounded.cut(path, where, shard_size)
    elif path.endswith(tables.SUFFIXES) and not _beside_tar(path, paths):
      sources += tables.cut(path, where, shard_size)
    elif path.endswith(".tar"):
      sources.append(Tar(path))
    else:
      raise ValueError(_of_no_kind(path))
  return sources


def _beside_tar(path: str, paths: Sequence[str]) -> bool:
  """Checks for the parquet that img2dataset writes beside a tar."""
  return f"{os.path.splitext(path)[0]}.tar" in paths


def _without_files(path: str) -> bool:
  """Checks for a folder that holds neither tars nor tables."""
  return os.path.isdir(path) and not any(
    name.endswith((".tar", *tables.SUFFIXES)) for name in os.listdir(path)
  )


def _of_folder(pattern: str) -> list[str]:
  """Returns the tables of a folder without tars, or the pattern itself.

  Raises:
    ValueError: it is a folder of images without captions; the message says how
      to give them.
  """
  path = os.path.expanduser(pattern)
  if not os.path.isdir(path):
    return [pattern]
  path = path.rstrip("/") or "/"
  names = sorted(os.listdir(path))
  if any(name.endswith(".tar") for name in names):
    return [pattern]
  found = [name for name in names if name.endswith(tables.SUFFIXES)]
  if found:
    return [os.path.join(path, name) for name in found]
  if tables.is_folder(path):
    return [path]
  for _, _, names in itertools.islice(os.walk(path), _FOLDERS):
    if any(name.lower().endswith(images.SUFFIXES) for name in names):
      raise ValueError(f"--input={_packing(path)}")
  return [pattern]


def _packing(folder: str) -> str:
  """Explains how to pack a folder of images as an input."""
  name = files.shown(folder.rstrip("/") or "/")
  return (
    f"{name} is a folder of images: put the caption of a.jpg into a.txt beside "
    "it, or list images and captions in a csv; images by class are to be in "
    "DIR/CLASS/*.jpg, of two classes or more"
  )


def _of_no_kind(path: str) -> str:
  """Describes a file that cannot be an input."""
  name = files.shown(path)
  if path.lower().endswith(images.SUFFIXES):
    return f"--input matches {name}: {_packing(os.path.dirname(path) or '.')}"
  if path.endswith(".parquet"):
    return (
      f"--input matches {name}; give the tar beside a parquet; one "
      "that holds the images (img2dataset --output_format parquet) cannot be "
      "read: download with --output_format webdataset"
    )
  return (
    f"--input matches {name}; want NAME.tar, or NAME.json or NAME.csv with a "
    "folder of images"
  )


def describe(source: Source) -> dict[str, Any]:
  """Describes an input for the manifest; it changes if the input is replaced.

  Raises:
    OSError: the file does not exist.
  """
  if isinstance(source, Split):
    return {
      "path": source.path,
      "images": [source.start, source.stop],
      "images_digest": tfds_splits.digest(source),
    }
  found: dict[str, Any] = {"path": source.path}
  if not os.path.isdir(source.path):
    found["bytes"] = os.path.getsize(source.path)
    found["digest"] = _digest(source.path)
  if isinstance(source, Grounded):
    end = source.start + len(source.entries)
    return found | {
      "images": [source.start, end],
      "images_digest": grounded.digest(source),
    }
  if isinstance(source, Table):
    return found | {
      "images": [source.start, source.start + len(source.rows)],
      "images_digest": tables.digest(source),
    }
  beside = columns.beside(source.path)
  there = os.path.exists(beside)
  return found | {"parquet_digest": _digest(beside) if there else ""}


def _digest(path: str) -> str:
  """Computes a digest of parts of a file, including the first and the last."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    last = max(os.path.getsize(path) - _STRETCH, 0)
    for i in range(_SAMPLES):
      file.seek(last * i // (_SAMPLES - 1))
      digest.update(file.read(_STRETCH))
  return digest.hexdigest()[:32]


def is_loose(pattern: str) -> bool:
  """Checks whether a pattern means a table, or a folder of images or tables.

  Training reads tars only; see `training.packed`.
  """
  path = os.path.expanduser(pattern.strip())
  if path.endswith(tables.SUFFIXES):
    return True
  if not os.path.isdir(path):
    return False
  names = os.listdir(path)
  return not any(name.endswith(".tar") for name in names) and (
    any(name.endswith(tables.SUFFIXES) for name in names)
    or any(
      name.lower().endswith(images.SUFFIXES)
      for _, _, names in itertools.islice(os.walk(path), _FOLDERS)
      for name in names
    )
  )


def form(source: Source, unit: str, ends: str) -> Form:
  """Returns the form of an input's boxes.

  Args:
    source: input.
    unit: one of `box_forms.UNITS`, or "" for that of the layout.
    ends: "xyxy" or "xywh", or "" for that of the layout.

  Returns:
    Units and corner convention.
  """
  usual = grounded.FORM if isinstance(source, Grounded) else Form()
  return Form(unit or usual.unit, ends or usual.ends)


def samples(source: Source, tally: Tally) -> Iterator[Sample]:
  """Yields the samples of an input, as found.

  Args:
    source: input.
    tally: counts of rejected records, which are increased.

  Yields:
    Samples.

  Raises:
    BadInputError: the file is damaged, of an unknown layout or unreadable.
    ModuleNotFoundError: its boxes are in a parquet file, and pyarrow is not
      installed.
  """
  if isinstance(source, Grounded):
    found = grounded.samples(source, tally)
  elif isinstance(source, Table):
    found = tables.samples(source)
  elif isinstance(source, Split):
    found = tfds_splits.samples(source)
  else:
    found = _of_tar(source.path, tally)
  try:
    for key, get in found:
      try:
        sample = get()
      except RecordError as error:
        tally.reject(error.reason, key)
      else:
        yield sample
  except (ValueError, OSError) as error:
    raise BadInputError(str(error)) from error


def read(source: Source, tally: Tally, reading: Reading) -> Iterator[Record]:
  """Yields the records of an input.

  Args:
    source: input.
    tally: counts of rejected records, which are increased.
    reading: how to interpret its boxes.

  Yields:
    Cleaned records.

  Raises:
    BadInputError, ModuleNotFoundError: as in `samples`.
  """
  for sample in samples(source, tally):
    try:
      tally.look(sample.found(reading.upright))
      where = f"{source.path}: record {sample.key!r}"
      record = sample_lib.cleaned(sample, where, reading)
    except RecordError as error:
      tally.reject(error.reason, sample.key)
    else:
      yield record


def _of_tar(
  path: str, tally: Tally
) -> Iterator[tuple[str, Callable[[], Sample]]]:
  """Yields the key of each record of a tar, with a function that reads it."""
  found = layouts.sort(path)
  if found.layout is layouts.PREPARED:
    raise ValueError(f"{path}: already prepared; give its raw input")
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
  """Reads a record of a tar, and adds the parquet row to a raw one."""
  where = f"{index.path}: record {key!r}"
  _, members = index.read(number)
  if index.layout is not layouts.RAW:
    return index.layout.read(where, key, members)
  meta = fields.json_object(members["json"], "json", where)
  meta = beside.joined(key, meta)
  sample = readers.of_fields(where, key, members["jpg"], meta)
  kept = {name: meta[name] for name in meta if name not in _MOVED}
  return sample._replace(meta=kept)
