"""How far from the root whole images and boxes lie, on grounded records.

Tars as training reads them, which should be others than it was trained on.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.layouts import WANTED
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals import encoding
from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left
from hyperclip_jax.inference.protocol import Model

RECORDS = 4096  # The first ones that have a part.
MIN_SIDE = 32  # Of a box in pixels, as in the paper.


class Row(NamedTuple):
  """A record and the first of its parts; images are squares to encode."""

  image: Pixels
  text: str
  box_image: Pixels
  box_text: str


class Bad(NamedTuple):
  """A record that is left out, and why."""

  name: str
  reason: str


def _run(model: Model, data: pathlib.Path) -> Results:
  """Statistics and bins of `norms`, and how many records they are of."""
  if not any((data / "grounded").glob("*.tar")):
    raise MissingData(
      "grounded",
      "your own held-out data, or GRIT: "
      "https://huggingface.co/datasets/zzliang/GRIT",
      f"grounded/*.tar: {WANTED}",
    )
  source = TarSource(expand(f"{data}/grounded/*.tar"), MIN_SIDE)
  found: dict[str, list[np.ndarray]] = {kind: [] for kind in norms.KINDS}
  count, left_out = 0, {}
  for chunk in encoding.ahead(
    encoding.chunks(len(source)),
    lambda number: _row(source, number, model.image_size),
  ):
    left_out |= {row.name: row.reason for row in chunk if isinstance(row, Bad)}
    rows = [row for row in chunk if isinstance(row, Row)][: RECORDS - count]
    if rows:
      found["image"].append(model.encode_image([r.image for r in rows]))
      found["text"].append(model.encode_text([r.text for r in rows]))
      found["box_image"].append(model.encode_image([r.box_image for r in rows]))
      found["box_text"].append(model.encode_text([r.box_text for r in rows]))
    count += len(rows)
    if count == RECORDS:
      break
  if not count:
    raise ValueError(f"{data / 'grounded'}: no record has a part to measure")
  embeddings = {kind: np.concatenate(rows) for kind, rows in found.items()}
  return {
    "records": float(count),
    **norms.norms(model.space, embeddings),
    **norms.bins(norms.distances(model.space, embeddings)),
    **left(left_out),
  }


def _row(source: TarSource, number: int, size: int) -> Row | Bad | None:
  """A record as the model reads it; None without a part."""
  try:
    record = source[number]
    if not record.parts:
      return None
    part = record.parts[0]
    whole = images.decode(record.image)
    own = part.image is not record.image
    box = images.decode(part.image) if own else whole
  except (RecordError, images.ImageError, OSError) as error:
    return Bad(source.name(number), str(error))
  return Row(
    images.center_square(whole, size),
    record.caption,
    images.center_square(images.crop(box, part.box), size),
    part.text,
  )


TASKS = (Task("root_distance", _run, {}, version=2),)
