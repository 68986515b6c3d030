"""Reads samples from the members of a shard's records.

Training and `prepare` read four layouts: raw GRIT, as img2dataset leaves it
(`json` and an image); an image with its caption as `txt`, as in webdataset and
open_clip; HyCoCLIP's processed shards, where the image is the `child` and each
box a `parent` (the more general concept) with its own crop; and prepared
shards, which hold cleaned parts (see `prepare`).

These files are untrusted. A bad box or phrase loses that part alone; any other
fault loses the record.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hyperclip_jax.data.records import boxes, fields, grit
from hyperclip_jax.data.records.record import Part, RecordError
from hyperclip_jax.data.records.sample import Sample

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")

Members = Mapping[str, bytes]  # suffix -> content

_PARENT = re.compile(r"parent[0-9]+\.jpg")


def raw(where: str, key: str, members: Members) -> Sample:
  """Reads a raw GRIT record.

  Args:
    where: shard and key, for messages.
    key: key of the record.
    members: suffix -> content, with `json` and one of `IMAGE_SUFFIXES`.

  Returns:
    Sample as found.

  Raises:
    RecordError: malformed JSON or field; the message names shard, key and
      field.
  """
  meta = fields.json_object(members["json"], "json", where)
  return of_fields(where, key, _image(members), meta)


def of_fields(
  where: str, key: str, image: bytes, meta: dict[str, Any]
) -> Sample:
  """Makes a sample from the fields of a raw GRIT record.

  The phrases of `noun_chunks` come first, then those of `ref_exps`. Without
  either list the record is a plain captioned image.

  Args:
    where: shard and key, for messages.
    key: key of the record.
    image: encoded image.
    meta: fields of the record.

  Returns:
    Sample as found.

  Raises:
    RecordError: malformed field; the message names shard, key and field.
  """
  caption = _caption(meta.get("caption"), where)
  left_out = Counter[str]()
  found = grit.parts(meta, caption, left_out, where)
  return Sample(
    key,
    caption,
    image,
    tuple(found),
    grit.measured(meta),
    meta=meta,
    left_out=left_out,
  )


def captioned(where: str, key: str, members: Members) -> Sample:
  """Reads an image with a text file, as in webdataset and open_clip.

  Args:
    where: shard and key, for messages.
    key: key of the record.
    members: suffix -> content, with `txt` and one of `IMAGE_SUFFIXES`.

  Returns:
    Sample as found.

  Raises:
    RecordError: malformed text; the message names shard, key and field.
  """
  caption = fields.text(members["txt"], "txt", where)
  return Sample(key, caption, _image(members))


def processed(where: str, key: str, members: Members) -> Sample:
  """Reads a record of HyCoCLIP's processed shards.

  Args:
    where: shard and key, for messages.
    key: key of the record.
    members: suffix -> content, with `child.jpg`, `child.txt`, `numparents.txt`
      and for each parent `parentNNN.jpg` and `parentNNN.txt`.

  Returns:
    Sample as found.

  Raises:
    RecordError: malformed text or wrong number of parents; the message names
      shard, key and field.
  """
  caption = fields.text(members["child.txt"], "child.txt", where)
  count = fields.text(members["numparents.txt"], "numparents.txt", where)
  found = sorted(filter(_PARENT.fullmatch, members), key=_number)
  if count.strip() != str(len(found)):
    problem = (
      f"found {fields.shown(count.strip())}, want the {len(found)} "
      "parentNNN.jpg here"
    )
    fields.fail(where, "numparents.txt", problem, "parents miscounted")
  parts, left_out = [], Counter[str]()
  for suffix in found:
    name = suffix.removesuffix("jpg") + "txt"
    if name in members:
      try:
        text = fields.text(members[name], name, where)
      except RecordError as error:
        left_out[error.reason] += 1
      else:
        parts.append(Part(text, boxes.WHOLE, members[suffix]))
    else:
      left_out["no phrase"] += 1
  return Sample(
    key,
    caption,
    members["child.jpg"],
    tuple(parts),
    tested=True,
    left_out=left_out,
  )


def prepared(where: str, key: str, members: Members) -> Sample:
  """Reads a record of a prepared shard.

  Args:
    where: shard and key, for messages.
    key: key of the record in the shard; the sample keeps that of its source.
    members: suffix -> content, with `jpg`, `parts.json` and, where crops were
      kept, a `partNNN.jpg` for each part.

  Returns:
    Sample as found.

  Raises:
    RecordError: malformed JSON or field; the message names shard, key and
      field.
  """
  content = fields.json_object(members["parts.json"], "parts.json", where)
  rows = content.get("parts")
  if not isinstance(rows, list):
    problem = f"found {fields.shown(rows)}, want a list"
    fields.fail(where, "parts", problem, "parts is no list")
  parts, left_out = [], Counter[str]()
  for i, row in enumerate(rows):
    part = _part(row, members.get(f"part{i:03d}.jpg"))
    if part is None:
      left_out["bad row"] += 1
    else:
      parts.append(part)
  meta = content.get("meta", {})
  return Sample(
    str(content.get("key", key)),
    _caption(content.get("caption"), where),
    members["jpg"],
    tuple(parts),
    tested=True,
    meta=meta if isinstance(meta, dict) else {},
    left_out=left_out,
  )


def _part(row: Any, crop: bytes | None) -> Part | None:
  """Makes a part of a prepared record: its own crop, or a box of the image."""
  if not isinstance(row, dict) or not isinstance(row.get("text"), str):
    return None
  if crop is not None:
    return Part(row["text"], boxes.WHOLE, crop)
  box = fields.floats(row.get("box"), 4)
  if box is None:
    return None
  x1, y1, x2, y2 = box
  return Part(row["text"], (x1, y1, x2, y2))


def _image(members: Members) -> bytes:
  """Returns the image of a record, whatever its suffix."""
  return next(members[s] for s in IMAGE_SUFFIXES if s in members)


def _caption(value: Any, where: str) -> str:
  """Checks that a caption is a text, blank or not."""
  if not isinstance(value, str):
    problem = f"found {fields.shown(value)}, want a text"
    fields.fail(where, "caption", problem, "no caption")
  return value


def _number(suffix: str) -> int:
  """Parses the number of a parent; absurdly long ones are rejected."""
  return int(suffix[len("parent") : -len(".jpg")][:9])
