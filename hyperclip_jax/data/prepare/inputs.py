"""Inputs: the foreign layouts that `prepare` takes, read as samples.

- Raw GRIT tars as img2dataset leaves them: KEY.jpg (or png, webp) and KEY.json
  with `noun_chunks` and `ref_exps`; see `grit`. Their boxes are fractions of
  the image unless another form is given; those in pixels were measured on an
  image of the JSON's `original_width` and `original_height`, or else of its
  `width` and `height`.
- The same without these two lists, which are then columns of the parquet that
  img2dataset writes beside the tar: NNNNN.tar and NNNNN.parquet, joined on
  `key` (needs the extra `prepare`).
- webdataset's image and text: KEY.jpg (or png, webp) and KEY.txt. No boxes.
- HyCoCLIP's processed tars: KEY.child.jpg, KEY.child.txt, KEY.numparents.txt,
  KEY.parentNNN.jpg and KEY.parentNNN.txt. Crops, no boxes.
- Grounded JSON with a folder of images: see `grounded`.

Nobody who wrote these files is trusted: a bad record is left out and counted,
only a file that cannot be read to its end is an error.
"""

import functools
import hashlib
import importlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.prepare import grounded
from hyperclip_jax.data.prepare.grounded import Grounded
from hyperclip_jax.data.records import (
  box_forms,
  boxes,
  grit,
  images,
  shards,
  tars,
)
from hyperclip_jax.data.records import sample as sample_lib
from hyperclip_jax.data.records.box_forms import Form, Found
from hyperclip_jax.data.records.record import IMAGE_SUFFIXES
from hyperclip_jax.data.records.sample import (
  BadInputError,
  Phrase,
  Rejected,
  Sample,
  Tally,
)
from hyperclip_jax.data.records.tars import Member

_PARENT = re.compile(r"parent([0-9]{1,9})\.jpg")
# Fields of a raw record that a prepared one has elsewhere, or no reader of.
_MOVED = ("caption", "key", "exif", *grit.LISTS)
_MAX_PARQUET = 1 << 28  # bytes of the columns that are read, unpacked
_PARQUET_ROWS = 16
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
  """What a manifest says of an input.

  Raises:
    OSError: the file is not there.
  """
  found = {
    "path": source.path,
    "bytes": os.path.getsize(source.path),
    "digest": _digest(source.path),
  }
  if isinstance(source, Grounded):
    found["images"] = [source.start, source.start + len(source.entries)]
  return found


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


def read(
  source: Source, tally: Tally, form: Form | None = None
) -> Iterator[Sample]:
  """Yields the samples of an input.

  Args:
    source: the input.
    tally: counts what is left out.
    form: that its boxes have; that of its layout if None.

  Raises:
    BadInputError: the file is damaged, of an unknown layout or unreadable.
    ModuleNotFoundError: its boxes are in a parquet, and pyarrow is missing.
  """
  if isinstance(source, Grounded):
    yield from grounded.read(source, tally, form or grounded.FORM)
    return
  try:
    yield from _read_tar(source.path, tally, form or Form())
  except (ValueError, OSError) as error:
    raise BadInputError(str(error)) from error


def _read_tar(path: str, tally: Tally, form: Form) -> Iterator[Sample]:
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
        sample = _raw(key, members, parquet, tally, form)
      elif "txt" in members:
        sample = Sample(key, _text(members["txt"]), _image(members), ())
      else:
        unknown.update(members)
        raise Rejected("missing member")
    except Rejected as error:
      tally.reject(str(error), key)
    else:
      yield sample
  if seen and tally.records["missing member"] == len(seen) and unknown:
    found = ", ".join(files.shown(name, 40) for name in sorted(unknown)[:12])
    raise ValueError(
      f"{path}: no record, only members with the suffixes {found}; want raw "
      "GRIT (KEY.jpg, KEY.json), images with texts (KEY.jpg, KEY.txt) or "
      "HyCoCLIP processed records (KEY.child.jpg, KEY.child.txt, "
      "KEY.numparents.txt, KEY.parentNNN.jpg, KEY.parentNNN.txt)"
    )


def _raw(
  key: str,
  members: Mapping[str, Member],
  parquet: "_Parquet",
  tally: Tally,
  form: Form,
) -> Sample:
  """A raw GRIT record, with the columns of the parquet if it needs them."""
  image = _image(members)
  try:
    meta = json.loads(_text(members["json"]))
  except (ValueError, RecursionError) as error:
    raise Rejected("bad json") from error
  if not isinstance(meta, dict):
    raise Rejected("bad json")
  fields = meta
  if not any(name in meta for name in grit.LISTS):
    fields = parquet.row(key.rpartition("/")[2]) | meta
  caption = fields.get("caption")
  if not isinstance(caption, str):
    raise Rejected("no caption")
  try:
    found = grit.phrases(fields, caption, tally.boxes)
  except grit.ListError as error:
    raise Rejected(f"{error.field} is no list") from error
  size = _measured(meta, image) if found else None
  if size is not None:
    for phrase in found:
      tally.look(phrase.box, size)
    found = [
      Phrase(text, box_forms.fractions(Found(box, size), form))
      for text, box in found
    ]
  return Sample(
    key,
    caption,
    image,
    tuple(found),
    size=size if form.unit == "pixels" else None,
    meta={k: v for k, v in meta.items() if k not in _MOVED},
  )


def _image(members: Mapping[str, Member]) -> bytes:
  """The image of a record, whichever suffix it has."""
  image = next((members[s] for s in IMAGE_SUFFIXES if s in members), None)
  if image is None:
    raise Rejected("missing member")
  return _bytes(image, sample_lib.MAX_IMAGE_BYTES)


def _measured(
  meta: Mapping[str, Any], image: bytes
) -> tuple[float, float] | None:
  """The size of the image that a raw record's boxes were measured on.

  Its own if the JSON gives none; None where that cannot be read, either, which
  leaves the record out before long.
  """
  for names in (("original_width", "original_height"), ("width", "height")):
    size = sample_lib.floats([meta.get(name) for name in names], 2)
    if size is not None and all(0 < side < math.inf for side in size):
      return size[0], size[1]
  try:
    width, height = images.size(image)
  except images.ImageError:
    return None
  return float(width), float(height)


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
    """Creates the rows of a file that need not exist."""
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
        return dict(self._read(file))
    except Exception as error:  # pyarrow has many of its own
      raise BadInputError(f"{self.path}: cannot read it ({error})") from error

  def _read(self, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the key and the wanted columns of each row.

    Raises:
      ValueError: there is no key, or too much text: some kilobytes of a
        dictionary may stand for gigabytes.
    """
    names = set(file.schema_arrow.names)
    if "key" not in names:
      raise ValueError("it has no column 'key'")
    wanted = [n for n in ("key", "caption", *grit.LISTS) if n in names]
    left = _MAX_PARQUET
    for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
      left -= batch.nbytes
      if left < 0:
        raise ValueError(f"more than {_MAX_PARQUET:,} bytes in {wanted}")
      for row in batch.to_pylist():
        yield str(row.pop("key")), row


def _bytes(member: Member, limit: int) -> bytes:
  if member.size > limit:
    raise Rejected("member too large")
  return member.read()


def _text(member: Member) -> str:
  try:
    return _bytes(member, sample_lib.MAX_TEXT_BYTES).decode("utf-8")
  except UnicodeDecodeError as error:
    raise Rejected("not utf-8") from error
