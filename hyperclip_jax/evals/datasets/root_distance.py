"""Distances from the root, and cones, of images and boxes in grounded records.

The records are tars in the form that training reads, but not those of training.
"""

import pathlib

import numpy as np

from hyperclip_jax.data.records.images import center_square
from hyperclip_jax.data.records.layouts import WANTED
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals import encoding, records
from hyperclip_jax.evals.metrics import cones, norms
from hyperclip_jax.evals.records import Bad, Row
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left
from hyperclip_jax.inference import reading
from hyperclip_jax.inference.protocol import Model

RECORDS = 4096  # number measured: the first ones that have a part
MIN_SIDE = 32  # smallest side of a box in pixels, as in the paper


def _run(model: Model, data: pathlib.Path) -> Results:
  """Returns `norms` with their bins, `cones`, and the number of records."""
  if not any((data / "grounded").glob("*.tar")):
    raise MissingData(
      "grounded",
      "your own held-out records, or GRIT: "
      "https://huggingface.co/datasets/zzliang/GRIT",
      f"grounded/*.tar: {WANTED}",
    )
  source = TarSource(expand(f"{data}/grounded/*.tar"), MIN_SIDE)
  found: dict[str, list[np.ndarray]] = {kind: [] for kind in norms.KINDS}
  texts: dict[str, list[str]] = {"text": [], "box_text": []}
  parts: list[bool] = []
  count, left_out = 0, {}

  def read(number: int) -> Row | Bad:
    row, side = records.read(source, number), model.image_size
    if isinstance(row, Bad):
      return row
    return row._replace(
      image=center_square(row.image, side),
      box_image=center_square(row.box_image, side),
    )

  groups = reading.groups(range(len(source)), encoding.CHUNK)
  for chunk in reading.ahead(groups, read):
    left_out |= {row.name: row.reason for row in chunk if isinstance(row, Bad)}
    rows = [row for row in chunk if isinstance(row, Row) and row.record.parts]
    rows = rows[: RECORDS - count]
    if rows:
      found["image"].append(model.encode_image([r.image for r in rows]))
      captions = [r.record.caption for r in rows]
      phrases = [r.box_text for r in rows]
      found["text"].append(model.encode_text(captions))
      found["box_image"].append(model.encode_image([r.box_image for r in rows]))
      found["box_text"].append(model.encode_text(phrases))
      texts["text"] += captions
      texts["box_text"] += phrases
      parts += [r.part for r in rows]
    count += len(rows)
    if count == RECORDS:
      break
  if not count:
    raise ValueError(f"{data / 'grounded'}: no record has a part")
  embeddings = {kind: np.concatenate(rows) for kind, rows in found.items()}
  entailed = cones.of_records(model.space, embeddings, texts, np.array(parts))
  return {
    "records": float(count),
    **norms.norms(model.space, embeddings),
    **norms.bins(norms.distances(model.space, embeddings)),
    **{f"cones/{name}": value for name, value in entailed.items()},
    **left(left_out),
  }


TASKS = (Task("root_distance", _run, {}, version=3),)
