"""Grounds one input, and writes it as a shard of raw GRIT, on any machine.

A shard is a USTAR tar of `KEY.jpg`, the image upright, and `KEY.json`: the
caption as stored, `noun_chunks` and `ref_exps` (see `records.grit`), the size
of the image, the key in the source and the source's other fields. `prepare` and
training read it as it is.
"""

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from hyperclip_jax.data.ground import select
from hyperclip_jax.data.ground.detect import Detect
from hyperclip_jax.data.ground.options import Options
from hyperclip_jax.data.ground.select import Limits, Pick
from hyperclip_jax.data.ground.text import BATCH, Parsed
from hyperclip_jax.data.prepare import inputs, manifest
from hyperclip_jax.data.prepare.manifest import ShardResult
from hyperclip_jax.data.prepare.shard import Job, completed, decoded, stored
from hyperclip_jax.data.prepare.tally import BadInputError, Tally
from hyperclip_jax.data.records import grit, tars, texts
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.sample import Sample

QUALITY = 95  # of the JPEGs that are not copied
SIDE = 1344  # longest side that a detector gets to see
THREADS = 4  # that decode images

_WINDOW = 64  # images that are decoded and sorted by shape at a time

_T = TypeVar("_T")

# Parses captions, in chunks of `BATCH`.
Parse = Callable[[Iterable[Sequence[str]]], Iterator[Sequence[Parsed]]]


class Tools(NamedTuple):
  """Functions that ground pairs.

  Attributes:
    parse: finds the phrases of captions.
    detect: finds the boxes of phrases.
  """

  parse: Parse
  detect: Detect


class Shown(NamedTuple):
  """An image, decoded.

  Attributes:
    jpeg: image to store.
    size: its width and height.
    pixels: image for the detector.
  """

  jpeg: bytes
  size: tuple[int, int]
  pixels: Pixels


def ground_shard(job: Job, tools: Callable[[], Tools]) -> ShardResult:
  """Writes NNNNN.tar, and just before NNNNN.json.

  Each file is written under a temporary name, flushed to disk and renamed, so
  this function may be killed and run again at any time. A tar without its JSON
  is never of this function, which overwrites no raw shard of the user's.

  Args:
    job: shard to make.
    tools: returns parser and detector, loaded once in each process.

  Returns:
    Content of NNNNN.json, or for a skipped input only the reason.

  Raises:
    BadInputError: the input is damaged, and `skip_bad` is not set.
    OSError: the shard cannot be written, or the input is missing.
    ValueError, ModuleNotFoundError: the tools cannot be loaded.
  """
  assert isinstance(job.options, Options)
  options, tally, records, parts = job.options, Tally(), 0, 0
  source = inputs.describe(job.source)
  path = os.path.join(job.folder, manifest.tar_name(job.number))
  made = tools()
  try:
    with manifest.replacing(path) as file:
      with tars.writing(file) as add:
        for sample, shown, lists in _grounded(job, made, options, tally):
          key = f"{job.number:05d}{records:05d}"
          data = _json(sample, shown, lists)
          if len(data) > texts.MAX_TEXT_BYTES:
            tally.reject("texts too long", sample.key)
            continue
          for suffix, content in (("jpg", shown.jpeg), ("json", data)):
            add(f"{key}.{suffix}", content)
          records += 1
          parts += sum(map(len, lists.values()))
      file.flush()
      result = completed(job.number, source, file.name, records, parts, tally)
      manifest.save_result(job.folder, options, result)
  except BadInputError as error:
    if not job.skip_bad:
      raise
    return ShardResult(job.number, source, skipped=str(error))
  return result


def _grounded(
  job: Job, tools: Tools, options: Options, tally: Tally
) -> Iterator[tuple[Sample, Shown, dict[str, list[list[float]]]]]:
  """Yields each record that has a box, with its image and its lists."""
  found = inputs.samples(job.source, tally)
  limits = Limits(options.threshold, options.nms_iou, options.min_side)
  with ThreadPoolExecutor(THREADS) as threads:
    for window in _windows(_parsed(found, tools.parse, tally), _WINDOW):
      shown = threads.map(_show, [sample for sample, _ in window])
      rows = []
      for (sample, parsed), seen in zip(window, shown, strict=True):
        if isinstance(seen, str):
          tally.reject(seen, sample.key)
        else:
          rows.append((sample, parsed, seen))
      boxes = tools.detect(
        [seen.pixels for _, _, seen in rows],
        [_wordings(sample, parsed) for sample, parsed, _ in rows],
      )
      for (sample, parsed, seen), each in zip(rows, boxes, strict=True):
        left_out = Counter[str]()
        kept: list[Pick] = select.picks(each, seen.size, limits, left_out)
        if kept:
          tally.boxes.update(+left_out)
          yield (
            sample,
            seen,
            select.rows(parsed.phrases, kept, options.drop_contained),
          )
        else:
          tally.reject("no box above the threshold", sample.key)


def _parsed(
  samples: Iterable[Sample], parse: Parse, tally: Tally
) -> Iterator[tuple[Sample, Parsed]]:
  """Yields samples that have phrases."""
  asked, given = itertools.tee(_windows(samples, BATCH))
  captions = ([sample.caption for sample in chunk] for chunk in asked)
  # `parse` may read ahead; only its captions wait in between.
  for results, chunk in zip(parse(captions), given, strict=True):
    for sample, parsed in zip(chunk, results, strict=True):
      if parsed.phrases:
        yield sample, parsed
      else:
        tally.reject(parsed.fault, sample.key)


def _windows(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
  rest = iter(items)
  while window := list(itertools.islice(rest, size)):
    yield window


def _wordings(sample: Sample, parsed: Parsed) -> list[str]:
  """Returns the phrases to look for, cut from the caption as stored."""
  spans = (phrase.chunk for phrase in parsed.phrases)
  return [texts.printable(sample.caption[start:end]) for start, end in spans]


def _show(sample: Sample) -> Shown | str:
  """Decodes an image upright; returns the reason if that fails."""
  try:
    pixels = decoded(sample.image, upright=True)
  except RecordError as error:
    return error.reason
  jpeg, width, height = stored(
    sample.image, pixels, max(pixels.shape), QUALITY, upright=True
  )
  if max(width, height) > SIDE:
    scale = SIDE / max(width, height)
    small = tuple(max(1, round(n * scale)) for n in (width, height))
    resized = Image.fromarray(pixels).resize(
      (small[0], small[1]), Image.Resampling.BICUBIC, reducing_gap=2.0
    )
    pixels = np.asarray(resized)
  return Shown(jpeg, (width, height), pixels)


def _json(
  sample: Sample, shown: Shown, lists: dict[str, list[list[float]]]
) -> bytes:
  """Makes the JSON of a record; fields that JSON lacks (NaN) are dropped."""
  width, height = shown.size
  fields = {}
  for name, value in sample.meta.items():
    try:
      json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
      continue
    fields[name] = value
  for name in ("original_width", "original_height", *grit.LISTS):
    fields.pop(name, None)  # of an image that may have been turned
  fields |= {"caption": sample.caption, **lists}
  fields |= {"key": sample.key, "width": width, "height": height}
  # Escaped, because a caption may contain half a surrogate pair.
  return json.dumps(fields, separators=(",", ":")).encode("ascii")
