"""The evaluation of a run: held-out records, and everything asked of them."""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from hyperclip_jax.data import images
from hyperclip_jax.data.boxes import WHOLE
from hyperclip_jax.data.record import Part, Record, RecordError
from hyperclip_jax.data.shards import TarSource, expand
from hyperclip_jax.evals import Model, norms
from hyperclip_jax.evals.hierarchy import Parents, hierarchy
from hyperclip_jax.evals.retrieval import retrieval
from hyperclip_jax.evals.zero_shot import (
  class_embeddings,
  predict,
  zero_shot,
)

TEMPLATES = ("{}", "a {}", "a picture of a {}")


class Classes(NamedTuple):
  """One-object images and where their classes stand in a hierarchy.

  Attributes:
    images: uint8 (height, width, 3) each.
    labels: the class of each image, a leaf.
    held_out: whether training never showed that class.
    parents: the hierarchy, node -> its parents.
  """

  images: Sequence[np.ndarray]
  labels: Sequence[str]
  held_out: np.ndarray
  parents: Parents


class HeldOut(NamedTuple):
  """Records that were not trained on, with pixels; row i is record i.

  Attributes:
    records: as read.
    image, box_image: uint8 (height, width, 3) each.
    text, box_text: caption and one phrase of each.
    classes: None without a labelled set.
  """

  records: Sequence[Record]
  image: Sequence[np.ndarray]
  text: Sequence[str]
  box_image: Sequence[np.ndarray]
  box_text: Sequence[str]
  classes: Classes | None


class Evaluation(NamedTuple):
  """Named numbers, and the embeddings by kind that they came from."""

  results: dict[str, float]
  embeddings: dict[str, np.ndarray]


def load(
  folder: str, source: TarSource, min_side: int, limit: int = 512
) -> HeldOut:
  """The embedded data set's held-out splits, or else a sample of the source.

  Args:
    folder: of the embedded data set, or "".
    source: the training records; without a folder the first `limit` of them
      are looked at, which says how training goes and nothing of new data.
    min_side: smallest side of a box in pixels.
    limit: of records.
  """
  classes = None
  if folder:
    source = TarSource(expand(f"{folder}/val/*.tar"), min_side)
    objects = TarSource(expand(f"{folder}/objects/*.tar"), min_side)
    rows = [objects[i] for i in range(len(objects))]
    parents = json.loads((pathlib.Path(folder) / "hierarchy.json").read_text())
    classes = Classes(
      [images.decode(row.image) for row in rows],
      [row.meta["label"] for row in rows],
      np.array([row.meta["held_out"] for row in rows]),
      {node: tuple(above) for node, above in parents.items()},
    )
  found = (_row(source, i) for i in range(min(limit, len(source))))
  rows = [row for row in found if row is not None]
  if not rows:
    raise ValueError(f"no record of {source} can be evaluated; see the log")
  return HeldOut(
    records=[row.record for row in rows],
    image=[row.image for row in rows],
    text=[row.record.caption for row in rows],
    box_image=[row.box_image for row in rows],
    box_text=[row.box_text for row in rows],
    classes=classes,
  )


class _Row(NamedTuple):
  record: Record
  image: np.ndarray
  box_image: np.ndarray
  box_text: str


def _row(source: TarSource, number: int) -> _Row | None:
  """A record and its first part, or all of it; None if it is bad."""
  try:
    record = source[number]
    whole = images.decode(record.image)
    parts = record.parts or (Part(record.caption, record.image, WHOLE),)
    part, own = parts[0], parts[0].image is not record.image
    image = images.decode(part.image) if own else whole
  except (RecordError, images.ImageError, OSError) as error:
    logging.warning("not evaluated: %s: %s", source.name(number), error)
    return None
  return _Row(record, whole, images.crop(image, part.box), part.text)


def evaluate(model: Model, data: HeldOut) -> Evaluation:
  """Retrieval, distances from the root, and classification if labelled.

  Returns:
    results: "eval/retrieval/t2i_r1" and so on; rates are fractions.
  """
  embeddings = {
    "image": model.encode_image(data.image),
    "text": model.encode_text(data.text),
    "box_image": model.encode_image(data.box_image),
    "box_text": model.encode_text(data.box_text),
  }
  groups = {
    "retrieval": retrieval(model, embeddings["image"], embeddings["text"]),
    "root_distance": norms.norms(model, embeddings),
  }
  if data.classes is not None:
    groups |= _classify(model, data.classes)
  results = {
    f"eval/{group}/{name}": value
    for group, values in groups.items()
    for name, value in values.items()
  }
  return Evaluation(results, embeddings)


def _classify(model: Model, data: Classes) -> dict[str, dict[str, float]]:
  """Zero-shot accuracy over leaf classes, and how far off in the hierarchy."""
  names = sorted(set(data.labels))
  labels = np.array([names.index(label) for label in data.labels])
  embeddings = model.encode_image(data.images)
  classes = class_embeddings(model, names, TEMPLATES)
  predicted = [names[i] for i in predict(model, embeddings, classes)]
  new = data.held_out
  return {
    "zero_shot": zero_shot(model, embeddings, labels, names, TEMPLATES),
    "zero_shot_held_out": zero_shot(
      model, embeddings[new], labels[new], names, TEMPLATES
    ),
    "hierarchy": hierarchy(data.parents, predicted, data.labels),
  }


def summary(results: dict[str, float]) -> str:
  """The handful of numbers for a progress line."""
  shown = (
    "zero_shot/top1",
    "zero_shot_held_out/top1",
    "hierarchy/tie",
    "retrieval/i2t_r5",
    "retrieval/t2i_r5",
  )
  return "  ".join(
    f"{name} {results[f'eval/{name}']:.3f}"
    for name in shown
    if f"eval/{name}" in results
  )
