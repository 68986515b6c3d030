"""Reads grounded JSON: a COCO-style file of boxes in a folder of images.

  {"images": [{"id": 1, "file_name": "a/1.jpg", "width": 640, "height": 480,
               "caption": "a dog on a sofa", ...}],
   "annotations": [{"image_id": 1, "bbox": [x, y, width, height],
                    "phrase": "a dog"}],
   "categories": [{"id": 18, "name": "dog"}]}

- `file_name` is relative to the folder of images and must stay inside it;
  `width` and `height` are those of the image to which boxes refer, which may
  have been scaled since, but not turned or cropped.
- `bbox` is in pixels, or in another form given to `prepare`. An annotation's
  phrase is its `phrase`; else the text at its `tokens_positive`, a list of
  [start, end] character offsets into the image's caption (Flickr30k and others
  as published by MDETR), joined by spaces; else the name of its `category_id`.
- The caption of an image is its `caption`, else the `caption` of its first
  annotation without a `bbox`, as when COCO's captions are appended to its
  instances.
- Numbers, texts and booleans among the other fields of an image are kept as
  metadata; everything else is ignored. The key of a record is its image's id.
"""

import functools
import hashlib
import json
import math
import os
import pathlib
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.prepare.tally import Tally
from hyperclip_jax.data.records import box_forms, fields, texts
from hyperclip_jax.data.records.box_forms import Form
from hyperclip_jax.data.records.record import Part, RecordError
from hyperclip_jax.data.records.sample import Sample

FORM = Form("pixels", box_forms.SIZES)  # of `bbox` in COCO
MAX_IMAGE = 1 << 28  # bytes
MAX_JSON = 1 << 32  # bytes; COCO's instances take half a gigabyte
_WANTED = "want an object with the lists 'images' and 'annotations'"
_NOTE = ("bbox", "phrase", "tokens_positive")
_MOVED = ("caption", "width", "height")


class Entry(NamedTuple):
  """An image of the JSON with its annotations.

  Attributes:
    fault: why it cannot become a record; "" if none is known yet.
    image: plain fields of the image.
    caption: caption as found, of any type.
    notes: bbox, phrase and tokens_positive of each annotation with a box.
  """

  fault: str
  image: dict[str, Any]
  caption: Any
  notes: list[dict[str, Any]]


class Grounded(NamedTuple):
  """Some images of a JSON: the input of one shard.

  Attributes:
    path: JSON file.
    folder: folder of the images.
    start: index in the JSON of the first image.
    entries: the images.
    stray: number of annotations that belong to no image of the JSON; counted in
      the first input.
  """

  path: str
  folder: str
  start: int
  entries: tuple[Entry, ...]
  stray: int


def cut(path: str, folder: str, shard_size: int) -> list[Grounded]:
  """Reads a JSON and splits it into inputs.

  Args:
    path: JSON file.
    folder: folder of the images.
    shard_size: number of images in each input.

  Returns:
    Inputs, one for each shard.

  Raises:
    ValueError: it is not a JSON of this layout, or lists no image.
    OSError: it cannot be read.
  """
  data = files.read_bytes(pathlib.Path(path), MAX_JSON)
  try:
    content = json.loads(data)  # in UTF-8, -16 or -32
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not JSON ({error})") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path}: found {reprlib.repr(content)}, {_WANTED}")
  images, notes = content.get("images"), content.get("annotations")
  if not isinstance(images, list) or not isinstance(notes, list) or not images:
    names = ", ".join(files.shown(name, 40) for name in sorted(content)[:12])
    raise ValueError(f"{path}: found an object with {names}; {_WANTED}")
  entries, stray = _join(images, notes, _names(content.get("categories")))
  return [
    Grounded(
      path, folder, i, tuple(entries[i : i + shard_size]), 0 if i else stray
    )
    for i in range(0, len(entries), shard_size)
  ]


def digest(source: Grounded) -> str:
  """Computes a digest of names, sizes and times of an input's image files.

  No file is opened. A missing file changes the digest too.
  """
  names = [entry.image.get("file_name") for entry in source.entries]
  return digest_of_images(source.folder, names)


def digest_of_images(folder: str, names: Iterable[Any]) -> str:
  """Computes a digest of names, sizes and times of image files in a folder."""
  found = hashlib.sha256()
  for name in names:
    try:
      about = os.stat(_path(folder, name))
      row = [name, about.st_size, about.st_mtime_ns]
    except (RecordError, OSError, ValueError):
      row = [repr(name)]
    found.update(f"{json.dumps(row)}\n".encode())
  return found.hexdigest()[:32]


def samples(
  source: Grounded, tally: Tally
) -> Iterator[tuple[str, Callable[[], Sample]]]:
  """Yields the key of each image of an input, with a function that reads it.

  Args:
    source: input.
    tally: counts of rejected records, which are increased.

  Yields:
    Key, and a function that returns the sample or raises RecordError.
  """
  if source.stray:
    tally.boxes["annotation of no image"] += source.stray
  for entry in source.entries:
    key = str(entry.image.get("id", ""))
    yield key, functools.partial(_sample, key, entry, source.folder)


def _sample(key: str, entry: Entry, folder: str) -> Sample:
  """Makes the sample of an image and its annotations.

  Raises:
    RecordError: something is missing; the message is the reason.
  """
  if entry.fault:
    raise RecordError(entry.fault)
  if not isinstance(entry.caption, str):
    raise RecordError("no caption")
  sizes = [entry.image.get("width"), entry.image.get("height")]
  width, height = fields.floats(sizes, 2) or (math.nan, math.nan)
  if not (0 < width < math.inf and 0 < height < math.inf):
    raise RecordError("no image size")
  parts, left_out = [], Counter[str]()
  for note in entry.notes:
    box = fields.floats(note["bbox"], 4)
    text, fault = _phrase(note, entry.caption)
    if box is None:
      left_out["bad row"] += 1
    elif fault:
      left_out[fault] += 1
    else:
      x1, y1, x2, y2 = box
      parts.append(Part(text, (x1, y1, x2, y2)))
  return Sample(
    key,
    entry.caption,
    load(folder, entry.image.get("file_name")),
    tuple(parts),
    (width, height),
    meta={k: v for k, v in entry.image.items() if k not in _MOVED},
    left_out=left_out,
  )


def _phrase(note: dict[str, Any], caption: str) -> tuple[str, str]:
  """Returns the phrase of an annotation and "", or "" and its fault."""
  phrase = note.get("phrase")
  if isinstance(phrase, str):
    return phrase, ""
  spans = note.get("tokens_positive")
  if spans is None:
    return "", "no phrase"
  if not isinstance(spans, list) or not spans:
    return "", "bad offsets"
  ends = [fields.floats(pair, 2) for pair in spans]
  words = [texts.span(caption, *pair) if pair else None for pair in ends]
  if any(word is None for word in words):
    return "", "bad offsets"
  return " ".join(str(word) for word in words), ""


def load(folder: str, name: Any) -> bytes:
  """Reads an image file.

  Args:
    folder: folder of the images.
    name: path in the folder, as found in the data.

  Returns:
    Encoded image.

  Raises:
    RecordError: it cannot be read; the message is the reason.
  """
  path = _path(folder, name)
  if not os.path.isfile(path):  # nor a pipe or device
    raise RecordError("missing image")
  try:
    if os.path.getsize(path) > MAX_IMAGE:
      raise RecordError("image too large")
    with open(path, "rb") as file:
      return file.read()
  except OSError as error:
    raise RecordError("unreadable image") from error


def _path(folder: str, name: Any) -> str:
  """Returns the path of an image, whose name is untrusted.

  Raises:
    RecordError: it is outside of the folder; the message is the reason.
  """
  if not isinstance(name, str):
    raise RecordError("no file name")
  if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
    raise RecordError("file outside of the folder")
  return os.path.join(folder, name)


def _join(
  images: list[Any], annotations: list[Any], names: dict[Any, str]
) -> tuple[list[Entry], int]:
  """Joins images and annotations, and counts annotations of no image."""
  entries, places = [], {}
  for image in images:
    key = image.get("id") if isinstance(image, dict) else None
    if not isinstance(key, (int, str)):
      entries.append(Entry("bad json", {}, None, []))
      continue
    plain = {k: v for k, v in image.items() if _is_plain(v)}
    fault = "duplicate key" if str(key) in places else ""
    places.setdefault(str(key), len(entries))
    entries.append(Entry(fault, plain, image.get("caption"), []))
  stray = 0
  for note in annotations:
    key = note.get("image_id") if isinstance(note, dict) else None
    place = places.get(str(key))
    if place is None:
      stray += 1
    elif note.get("bbox") is not None:
      entries[place].notes.append(_slim(note, names))
    elif entries[place].caption is None:
      entries[place] = entries[place]._replace(caption=note.get("caption"))
  return entries, stray


def _slim(note: dict[str, Any], names: dict[Any, str]) -> dict[str, Any]:
  """Keeps the fields used of an annotation: COCO's outlines take gigabytes."""
  found = {k: note[k] for k in _NOTE if note.get(k) is not None}
  category = note.get("category_id")
  if "phrase" not in found and "tokens_positive" not in found:
    name = names.get(category) if _is_plain(category) else None
    found |= {"phrase": name} if name else {}
  return found


def _names(categories: Any) -> dict[Any, str]:
  return {
    row["id"]: row["name"]
    for row in categories or []
    if isinstance(row, dict)
    and _is_plain(row.get("id"))
    and isinstance(row.get("name"), str)
  }


def _is_plain(value: Any) -> bool:
  return value is None or isinstance(value, (str, int, float, bool))
