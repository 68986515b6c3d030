"""Records: one captioned image and its parts, from the members of a shard.

Four layouts are read. Raw GRIT, as img2dataset leaves it: `json` and an image;
an image with its caption as `txt`, as webdataset and open_clip have it;
HyCoCLIP's processed shards, where the image is the `child` and each box is a
`parent` (the more general thing) with its own crop; and prepared shards, which
hold cleaned parts (see `prepare`). Images stay packed until somebody wants
their pixels.
"""

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from absl import logging

from hyperclip_jax.data.records import boxes, grit, images
from hyperclip_jax.data.records import sample as sample_lib
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.grit import ListError
from hyperclip_jax.data.records.images import Pixels

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")

Members = Mapping[str, bytes]  # suffix -> content

_PARENT = re.compile(r"parent[0-9]+\.jpg")


class RecordError(ValueError):
  """A record whose texts do not say what they should."""


class Part(NamedTuple):
  """A phrase and where to see it.

  Attributes:
    text: the phrase.
    box: where it is, in fractions of the record's image, or of `crop`.
    crop: a picture stored for this part alone; None where the part is a box of
      the record's image.
  """

  text: str
  box: Box
  crop: bytes | None = None

  def pixels(self, whole: Pixels, upright: bool = False) -> Pixels:
    """The pixels of the part.

    Args:
      whole: the decoded image of the record.
      upright: turn a crop as its EXIF orientation says.

    Raises:
      ImageError: the crop cannot be decoded.
    """
    if self.crop is not None:
      whole = images.decode(self.crop, upright=upright)
    return images.crop(whole, self.box)


class Record(NamedTuple):
  """A captioned image and its parts.

  Attributes:
    key: the record's name in its shard.
    caption: the whole caption.
    image: the whole image as it is stored, a JPEG say.
    parts: at most one part a phrase; empty if no box is good enough.
    meta: the JSON of a raw record, the `meta` of a prepared one, else {}.
    left_out: reason -> boxes and phrases that did not become parts.
  """

  key: str
  caption: str
  image: bytes
  parts: tuple[Part, ...]
  meta: dict[str, Any]
  left_out: Mapping[str, int] = {}


class BoxWatch:
  """Warns once where the first records with boxes have no part at all."""

  RECORDS = 20

  def __init__(self):
    """Starts with no record seen."""
    self._records = self._parts = 0

  def see(self, record: Record, shard: str) -> None:
    """Counts a record; threads may lose a count, which does not matter."""
    if self._records >= self.RECORDS or not (record.parts or record.left_out):
      return
    self._records += 1
    self._parts += len(record.parts)
    if self._records == self.RECORDS and not self._parts:
      logging.warning(
        "%s: none of %d records with boxes has a part (the last: %s); boxes "
        "are fractions of the image, others need prepare (docs/data.md)",
        shard,
        self.RECORDS,
        ", ".join(f"{n} {reason}" for reason, n in record.left_out.items()),
      )


def parse_raw(shard: str, key: str, members: Members, min_side: int) -> Record:
  """Reads a raw GRIT record.

  The phrases of `noun_chunks` come first, then those of `ref_exps`. Of the
  boxes of one phrase the first good one wins: they are cleaned before they are
  told apart. Without either list the record is a plain captioned image.

  Args:
    shard: the tar, for messages.
    key: the record's key.
    members: suffix -> content, with `json` and one of `IMAGE_SUFFIXES`.
    min_side: smallest side of a box in pixels.

  Raises:
    RecordError: malformed JSON or field; names shard, key and field.
  """
  image = next(members[s] for s in IMAGE_SUFFIXES if s in members)
  where = f"{shard}: record {key!r}"
  meta = _object(members["json"], "json", where)
  caption = _caption(meta.get("caption"), where)
  left_out = Counter[str]()
  try:
    found = grit.phrases(meta, meta["caption"], left_out)
  except ListError as error:
    raise RecordError(f"{where}, {error}") from error
  width = height = 0.0
  if found:
    width, height = (_pixels(meta, name, where) for name in ("width", "height"))
  parts = tuple(
    Part(choice.text, choice.box)
    for choice in grit.choose(found, width, height, min_side, left_out)
  )
  return Record(key, caption, image, parts, meta, left_out)


def parse_captioned(
  shard: str, key: str, members: Members, min_side: int
) -> Record:
  """Reads an image with a text file, as webdataset and open_clip have it.

  Args:
    shard: the tar, for messages.
    key: the record's key.
    members: suffix -> content, with `txt` and one of `IMAGE_SUFFIXES`.
    min_side: not used; there are no boxes.

  Raises:
    RecordError: malformed text; names shard, key and field.
  """
  del min_side
  image = next(members[s] for s in IMAGE_SUFFIXES if s in members)
  where = f"{shard}: record {key!r}"
  caption = _caption(_text(members["txt"], "txt", where), where)
  return Record(key, caption, image, (), {})


def parse_processed(
  shard: str, key: str, members: Members, min_side: int
) -> Record:
  """Reads a record of HyCoCLIP's processed shards.

  Args:
    shard: the tar, for messages.
    key: the record's key.
    members: suffix -> content, with `child.jpg`, `child.txt`, `numparents.txt`
      and for each parent `parentNNN.jpg` and `parentNNN.txt`.
    min_side: not used; these boxes were filtered when the shard was written.

  Raises:
    RecordError: malformed text, parents miscounted; names shard, key and field.
  """
  del min_side
  where = f"{shard}: record {key!r}"
  caption = _caption(_text(members["child.txt"], "child.txt", where), where)
  count = _text(members["numparents.txt"], "numparents.txt", where).strip()
  found = sorted(suffix for suffix in members if _PARENT.fullmatch(suffix))
  if count != str(len(found)):
    problem = f"found {_shown(count)}, want the {len(found)} parentNNN.jpg here"
    _fail(where, "numparents.txt", problem)
  parts, left_out = [], Counter[str]()
  for suffix in found:
    name = suffix.removesuffix("jpg") + "txt"
    text = ""
    if name in members:
      text = sample_lib.normalise(_text(members[name], name, where))
    if text:
      parts.append(Part(text, boxes.WHOLE, members[suffix]))
    else:
      left_out["no phrase"] += 1
  return Record(key, caption, members["child.jpg"], tuple(parts), {}, left_out)


def parse_prepared(
  shard: str, key: str, members: Members, min_side: int
) -> Record:
  """Reads a record of a prepared shard.

  Args:
    shard: the tar, for messages.
    key: the record's key in the shard; the one of its source is kept.
    members: suffix -> content, with `jpg`, `parts.json` and, where crops were
      kept, a `partNNN.jpg` for each part.
    min_side: not used; these boxes were filtered when the shard was written.

  Raises:
    RecordError: malformed JSON or field; names shard, key and field.
  """
  del min_side
  image = members["jpg"]
  where = f"{shard}: record {key!r}"
  content = _object(members["parts.json"], "parts.json", where)
  caption = _caption(content.get("caption"), where)
  rows = content.get("parts")
  if not isinstance(rows, list):
    _fail(where, "parts", f"found {_shown(rows)}, want a list")
  parts = [
    _part(row, members.get(f"part{i:03d}.jpg"), where)
    for i, row in enumerate(rows)
  ]
  meta = content.get("meta", {})
  return Record(
    str(content.get("key", key)),
    caption,
    image,
    tuple(parts),
    meta if isinstance(meta, dict) else {},
  )


def _part(row: Any, crop: bytes | None, where: str) -> Part:
  """A part of a prepared record: its own crop, or a box of the image."""
  if not isinstance(row, dict):
    _fail(where, "parts", f"found {_shown(row)}, want objects")
  text, box = row.get("text"), row.get("box")
  if not isinstance(text, str) or not text:
    _fail(where, "parts.text", f"found {_shown(text)}, want a text")
  if crop is not None:
    return Part(text, boxes.WHOLE, crop)
  if not isinstance(box, list) or len(box) != 4:
    _fail(where, "parts.box", f"found {_shown(box)}, want [x1,y1,x2,y2]")
  values = [_number(value, "parts.box", where) for value in box]
  cleaned = boxes.clean(values, 1.0, 1.0, 0)  # its size was tested when written
  if cleaned is None:
    _fail(where, "parts.box", f"found {_shown(box)}, want fractions")
  return Part(text, cleaned)


def _object(content: bytes, field: str, where: str) -> dict[str, Any]:
  text = _text(content, field, where)
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise RecordError(f"{where}, {field}: not JSON ({error})") from error
  if not isinstance(found, dict):
    _fail(where, field, f"found {_shown(found)}, want an object")
  return found


def _caption(value: Any, where: str) -> str:
  caption = sample_lib.normalise(value) if isinstance(value, str) else ""
  if not caption:
    _fail(where, "caption", f"found {_shown(value)}, want a text")
  return caption


def _pixels(meta: dict[str, Any], name: str, where: str) -> float:
  value = _number(meta.get(name), name, where)
  if not 0 < value < math.inf:
    _fail(where, name, f"found {value}, want a number of pixels")
  return value


def _number(value: Any, field: str, where: str) -> float:
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    _fail(where, field, f"found {_shown(value)}, want a number")
  try:
    return float(value)
  except OverflowError:
    _fail(where, field, f"found {_shown(value)}, too large a number")


def _text(content: bytes, field: str, where: str) -> str:
  if len(content) > sample_lib.MAX_TEXT_BYTES:
    _fail(
      where,
      field,
      f"{len(content):,} bytes, at most {sample_lib.MAX_TEXT_BYTES:,} are read",
    )
  try:
    return content.decode("utf-8")
  except UnicodeDecodeError as error:
    raise RecordError(f"{where}, {field}: not UTF-8 ({error})") from error


def _fail(where: str, field: str, problem: str) -> NoReturn:
  raise RecordError(f"{where}, {field}: {problem}")


def _shown(value: Any) -> str:
  """A value from outside, short enough for a message."""
  text = reprlib.repr(value)
  return text if len(text) <= 200 else f"{text[:200]}..."
