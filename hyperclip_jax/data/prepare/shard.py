"""Makes one prepared shard from one input, on any machine.

A prepared shard is a USTAR tar of `KEY.jpg`, the image with its long side
limited; `KEY.parts.json`, its caption and its parts; and, where crops are kept,
`KEY.part000.jpg` and so on, one for each part in order:

  {"key": key in the source, "caption": text, "width": of the stored image in
   pixels, "height": likewise, "parts": [{"text": phrase, "box": [x1, y1, x2,
   y2] in fractions, "whole": true if the phrase is the caption, else absent}],
   "meta": other fields of the source}

The same input, options and releases of the JPEG and imaging libraries give the
same bytes.
"""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from hyperclip_jax import files
from hyperclip_jax.data.prepare import inputs, manifest
from hyperclip_jax.data.prepare.manifest import Options, Recipe, ShardResult
from hyperclip_jax.data.prepare.tally import BadInputError, Tally
from hyperclip_jax.data.records import (
  box_forms,
  images,
  index,
  jpegs,
  tars,
  texts,
)
from hyperclip_jax.data.records.box_forms import Form
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.record import Part, Record, RecordError
from hyperclip_jax.data.records.sample import Reading

CROP_SIDE = 256
SMALL = 64  # longest side of images that keep colours at full resolution
_CHECKED = 1000  # records after which boxes are checked, as well as at the end


@dataclasses.dataclass(frozen=True)
class Job:
  """A shard to make.

  Attributes:
    number: number of the shard.
    source: input.
    folder: output folder.
    options: options of the whole folder.
    skip_bad: whether to return the reason instead of raising if the input is
      damaged.
  """

  number: int
  source: inputs.Source
  folder: str
  options: Recipe
  skip_bad: bool


def prepare_shard(job: Job) -> ShardResult:
  """Writes NNNNN.tar, its index, and then NNNNN.json, which marks it complete.

  Each file is written under a temporary name, flushed to disk and renamed, so
  this function may be killed and run again at any time.

  Args:
    job: shard to make.

  Returns:
    Content of NNNNN.json, or for a skipped input only the reason.

  Raises:
    BadInputError: the input is damaged, and `skip_bad` is not set.
    ValueError: its boxes are clearly of another form.
    ModuleNotFoundError: the input needs pyarrow.
    OSError: the shard cannot be written, or the input is missing.
  """
  source = inputs.describe(job.source)
  path = os.path.join(job.folder, manifest.tar_name(job.number))
  options = job.options
  assert isinstance(options, Options)
  form = inputs.form(job.source, options.boxes, options.box_format)
  reading = Reading(options.min_side, form, options.upright)
  tally, records, parts = Tally(), 0, 0
  try:
    with (
      manifest.replacing(path) as file,
      tars.writing(file) as add,
    ):
      for record in inputs.read(job.source, tally, reading):
        if records == _CHECKED:
          _check_boxes(job, tally, form)
        try:
          content, members = _convert(record, options, tally)
        except RecordError as error:
          tally.reject(error.reason, record.key)
          continue
        for suffix, data in members:
          add(f"{job.number:05d}{records:05d}.{suffix}", data)
        records += 1
        parts += len(content["parts"])
      _check_boxes(job, tally, form)
  except BadInputError as error:
    if not job.skip_bad:
      raise
    return ShardResult(job.number, source, skipped=str(error))
  index.load(path)
  result = completed(job.number, source, path, records, parts, tally)
  manifest.save_result(job.folder, job.options, result)
  return result


def completed(
  number: int,
  source: dict[str, Any],
  path: str,
  records: int,
  parts: int,
  tally: Tally,
) -> ShardResult:
  """Describes a shard that was made.

  Args:
    number: number of the shard.
    source: its input, described before it was read.
    path: file of the shard, perhaps under a temporary name.
    records: number of records in it.
    parts: number of their parts.
    tally: what was rejected.

  Returns:
    Content of NNNNN.json.
  """
  return ShardResult(
    number,
    source,
    records=records,
    parts=parts,
    bytes=os.path.getsize(path),
    sha256=files.sha256(path),
    rejected_records=dict(sorted(tally.records.items())),
    rejected_boxes=dict(sorted(tally.boxes.items())),
    examples=dict(sorted(tally.examples.items())),
  )


def _check_boxes(job: Job, tally: Tally, form: Form) -> None:
  """Raises ValueError if boxes contradict a form not given by flags."""
  options = job.options
  assert isinstance(options, Options)
  if options.boxes and options.box_format:
    return
  doubt = box_forms.doubt(tally.found, form)
  if doubt is not None:
    right = doubt.likelier or Form("UNIT", "xyxy|xywh")
    raise ValueError(
      f"{job.source.path}: {doubt.reason}. Give --boxes={right.unit} "
      f"--box_format={right.ends}, or to keep the form, "
      f"--boxes={form.unit} --box_format={form.ends}"
    )


def _convert(
  record: Record, options: Options, tally: Tally
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
  """Returns the JSON of a record, and its members by suffix.

  Raises:
    RecordError: the record is bad; the message is the reason.
  """
  pixels = decoded(record.image, options.upright)
  left_out = Counter(record.left_out)
  parts = list(_parts(record, pixels, options, left_out))
  if options.require_boxes and not parts:
    raise RecordError("no good box")
  image, width, height = stored(
    record.image, pixels, options.long_side, options.quality, options.upright
  )
  content = {
    "key": record.key,
    "caption": record.caption,
    "width": width,
    "height": height,
    "parts": [
      {"text": part.text, "box": part.box}
      | ({"whole": True} if part.text == record.caption else {})
      for part in parts
    ],
    "meta": {k: v for k, v in record.meta.items() if _json(v) is not None},
  }
  text = _json(content)
  if text is None or len(text) > texts.MAX_TEXT_BYTES:
    raise RecordError("texts too long")
  members = [("jpg", image), ("parts.json", text.encode("ascii"))]
  for i, part in enumerate(parts):
    if part.crop is not None:
      members.append((f"part{i:03d}.jpg", part.crop))
  tally.boxes.update(left_out)
  return content, members


def _json(value: Any) -> str | None:
  """Encodes a value as JSON; None if that is impossible, as for NaN."""
  try:
    # Escaped, because metadata may contain half a surrogate pair.
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
  except (ValueError, RecursionError):
    return None


def _parts(
  record: Record, pixels: Pixels, options: Options, left_out: Counter[str]
) -> Iterator[Part]:
  """Yields the parts to store; with crops, only those whose crop is good."""
  for part in record.parts:
    if part.crop is not None:
      try:
        cut = decoded(part.crop, options.upright)
      except RecordError:
        left_out["bad crop"] += 1
        continue
      crop = _crop(part.crop, cut, options)
      yield part._replace(crop=crop)
    elif options.crops:
      crop = _crop(b"", part.pixels(pixels), options)
      yield part._replace(crop=crop)
    else:
      yield part


def _crop(data: bytes, pixels: Pixels, options: Options) -> bytes:
  return stored(data, pixels, CROP_SIDE, options.quality, options.upright)[0]


def decoded(data: bytes, upright: bool) -> Pixels:
  """Decodes the image of a record.

  Args:
    data: encoded image.
    upright: whether to turn it as its EXIF orientation says.

  Returns:
    Pixels.

  Raises:
    RecordError: it is damaged, of an unknown format or too large.
  """
  try:
    return images.decode(data, upright=upright)
  except images.TooLargeError as error:
    raise RecordError("image too large") from error
  except images.ImageError as error:
    raise RecordError("bad image") from error


def stored(
  data: bytes, pixels: Pixels, long_side: int, quality: int, upright: bool
) -> tuple[bytes, int, int]:
  """Makes the JPEG to store of an image.

  A JPEG that is small enough is kept byte for byte, unless it has an EXIF
  orientation: then it is turned, or the tag is removed, because boxes refer to
  the pixels as stored.

  Args:
    data: encoded image, or nothing if there are only pixels.
    pixels: its pixels, turned if `upright`.
    long_side: longest side to store in pixels; longer images are scaled down.
    quality: quality of the JPEG if one is written.
    upright: whether images are turned as their EXIF orientation says.

  Returns:
    JPEG, its width and its height.
  """
  height, width, _ = pixels.shape
  scale = long_side / max(height, width)
  if scale >= 1 and data.startswith(jpegs.START):
    if images.orientation(data) == 1:
      return data, width, height
    if not upright:
      return jpegs.without_exif(data), width, height
  if scale < 1:
    width, height = (max(1, round(n * scale)) for n in (width, height))
    pixels = np.asarray(
      Image.fromarray(pixels).resize(
        (width, height), Image.Resampling.BICUBIC, reducing_gap=2.0
      )
    )
  colours = "444" if max(width, height) <= SMALL else "420"
  jpeg = simplejpeg.encode_jpeg(
    np.ascontiguousarray(pixels), quality, colorsubsampling=colours
  )
  return jpeg, width, height
