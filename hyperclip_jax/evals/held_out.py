"""Evaluates a model on a sample of training or held-out records."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Int

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals import rates, records
from hyperclip_jax.evals.encoding import shared
from hyperclip_jax.evals.metrics import cones, inclusion, norms, tree
from hyperclip_jax.evals.metrics.hierarchy import Parents, rated
from hyperclip_jax.evals.metrics.open_set import open_set
from hyperclip_jax.evals.metrics.retrieval import recalls
from hyperclip_jax.evals.metrics.scores import by_each
from hyperclip_jax.evals.metrics.zero_shot import accuracies, predict
from hyperclip_jax.evals.records import Bad, Row
from hyperclip_jax.files import read_json, shown
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.inference import reading
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.protocol import Model

Name = Literal["eval", "train_sample"]
HELD_OUT: Name = "eval"
TRAIN_SAMPLE: Name = "train_sample"
SUMMARY = (
  "classification/top1",
  "zero_shot/top1",
  "zero_shot_held_out/top1",
  "hierarchy/tie",
  "retrieval/i2t_r5",
  "retrieval/t2i_r5",
  "cones/text_image/inside",
  "cones/text_image/auroc",
)
KS = (1, 5)
TEMPLATES = ("{}", "a {}", "a picture of a {}")


class Classes(NamedTuple):
  """Images of one object each, and a hierarchy above their classes.

  Attributes:
    images: uint8 (height, width, 3) each.
    labels: class of each image, a leaf of the hierarchy.
    held_out: bool (images,), whether the class was kept out of training.
    parents: hierarchy as a mapping from a node to its parents.
    wordnet: hierarchy of WordNet's nouns above some of the leaves, or empty.
  """

  images: Sequence[np.ndarray]
  labels: Sequence[str]
  held_out: np.ndarray
  parents: Parents
  wordnet: Parents


class Sample(NamedTuple):
  """Decoded records to evaluate a model on; item i of each list is record i.

  Attributes:
    name: prefix of the results: "eval" if the records were held out of
      training, else "train_sample".
    records: records as read.
    image: uint8 (height, width, 3) pixels of each whole image.
    text: caption of each image.
    box_image: uint8 (height, width, 3) pixels of one part of each image.
    box_text: phrase of that part.
    parts: whether that part differs from the whole image.
    classes: labelled objects, or None.
  """

  name: Name
  records: Sequence[Record]
  image: Sequence[np.ndarray]
  text: Sequence[str]
  box_image: Sequence[np.ndarray]
  box_text: Sequence[str]
  parts: Bool[np.ndarray, " records"]
  classes: Classes | None


class Evaluation(NamedTuple):
  """Results of an evaluation on a sample.

  Attributes:
    results: measures by name, such as "eval/retrieval/i2t_r1".
    embeddings: float32 (records, dim) rows by kind ("image", "text", ...).
    context: standard errors, chance levels and counts of the measures, named as
      in `rates`.
  """

  results: dict[str, float]
  embeddings: dict[str, np.ndarray]
  context: dict[str, float]


def load(
  folder: str,
  source: TarSource,
  min_side: int,
  limit: int = 512,
  name: Name = HELD_OUT,
  upright: bool = False,
) -> Sample:
  """Reads the first records of a source, and a generated data set's classes.

  Args:
    folder: generated data set whose labelled objects are classified, or "".
    source: records to evaluate on.
    min_side: smallest side of a box in pixels.
    limit: number of records to look at.
    name: "eval" if training does not see the source, else "train_sample".
    upright: whether to turn images as their EXIF orientation says, like the
      config's `data.upright`.

  Returns:
    Decoded records. Bad ones are logged and left out.

  Raises:
    ValueError: no record is good.
  """

  def read(number: int) -> Row | Bad:
    return records.read(source, number, upright)

  numbers = range(min(limit, len(source)))
  rows = []
  for row in itertools.chain(*reading.ahead([numbers], read)):
    if isinstance(row, Bad):
      where, reason = shown(row.name), shown(row.reason)
      logging.warning("not evaluated: %s: %s", where, reason)
    else:
      rows.append(row)
  if not rows:
    raise ValueError(f"no record of {source} can be evaluated; see the log")
  return Sample(
    name=name,
    records=[row.record for row in rows],
    image=[row.image for row in rows],
    text=[row.record.caption for row in rows],
    box_image=[row.box_image for row in rows],
    box_text=[row.box_text for row in rows],
    parts=np.array([row.part for row in rows]),
    classes=_classes(pathlib.Path(folder), min_side) if folder else None,
  )


def _classes(folder: pathlib.Path, min_side: int) -> Classes:
  """Reads the labelled objects of a generated data set."""
  objects = TarSource(expand(f"{folder}/objects/*.tar"), min_side)
  rows = [objects[i] for i in range(len(objects))]
  nouns = folder / "wordnet.json"
  return Classes(
    [images.decode(row.image) for row in rows],
    [row.meta["label"] for row in rows],
    np.array([row.meta["held_out"] for row in rows]),
    _hierarchy(folder / "hierarchy.json"),
    _hierarchy(nouns) if nouns.exists() else {},
  )


def _hierarchy(path: pathlib.Path) -> Parents:
  return {node: tuple(above) for node, above in read_json(path).items()}


def evaluate(model: Model, data: Sample) -> Evaluation:
  """Measures retrieval, cones, distances from the root and zero-shot accuracy.

  Cones are measured where the space has them, and zero-shot accuracy where
  there are labels.

  Every process must call this function: each encodes a share of the images, and
  all return the same results.

  Args:
    model: model to measure, the same on every process.
    data: records to measure on, the same on every process.

  Returns:
    Measures, named "{data.name}/retrieval/t2i_r1" and so on, with the
    embeddings they were computed from. Rates are fractions.
  """
  embeddings = {
    "image": shared(model.encode_image, data.image),
    "text": shared(model.encode_text, data.text),
    "box_image": shared(model.encode_image, data.box_image),
    "box_text": shared(model.encode_text, data.box_text),
  }
  own = np.arange(len(data.text))
  groups = {
    "retrieval": recalls(
      model, embeddings["image"], embeddings["text"], own, KS
    ),
    "cones": cones.of_records(
      model.space,
      embeddings,
      {"text": data.text, "box_text": data.box_text},
      data.parts,
    ),
    "root_distance": norms.norms(model.space, embeddings),
  }
  if model.classes:
    groups |= _labelled(model, embeddings)
  if isinstance(model.space, Gaussian):
    texts = {"text": data.text, "box_text": data.box_text}
    groups |= inclusion.of_records(embeddings, texts, data.parts)
  if data.classes is not None:
    named = not model.classes or {*data.classes.labels} <= {*model.classes}
    objects = _classify if named else _unknown
    for kind, found in objects(model, data.classes).items():
      groups[kind] = groups.get(kind, {}) | found
  numbers = {
    f"{data.name}/{group}/{name}": value
    for group, values in groups.items()
    for name, value in values.items()
  }
  results = rates.measured(numbers)
  context = {k: v for k, v in numbers.items() if k not in results}
  return Evaluation(results, embeddings, context)


def _labelled(
  model: Model, embeddings: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Measures the accuracy on images whose texts name a class of the model."""
  classes = model.encode_text(model.classes)
  owns = (embeddings["text"][:, None] == classes[None]).all(axis=2)
  known = owns.any(axis=1)
  if not known.any():
    return {}
  labels, names = owns[known].argmax(axis=1), list(model.classes)
  given = class_embeddings(model, names, ("{}",))
  images = embeddings["image"][known]
  found = {"classification": _accuracies(model, images, labels, given)}
  if model.parents:
    predicted = [names[i] for i in predict(model, images, classes)]
    truths = [names[i] for i in labels]
    found["hierarchy"] = rated(model.parents, names, predicted, truths)
  return found


def _accuracies(
  model: Model,
  images: Float[np.ndarray, "images dim"],
  labels: Int[np.ndarray, " images"],
  classes: Float[np.ndarray, "classes dim"],
) -> dict[str, float]:
  """Measures accuracy by each score of the model's space."""
  rate = accuracies(model.space, images, labels)
  return by_each(model, lambda similarity: rate(similarity, classes))


def _unknown(model: Model, data: Classes) -> dict[str, dict[str, float]]:
  """Measures how well objects of other classes than the model's are refused."""
  classes = model.encode_text(model.classes)
  texts = model.encode_text(data.labels)
  owns = (texts[:, None] == classes[None]).all(axis=2)
  known = owns.any(axis=1)
  if not known.any() or known.all():
    return {}
  logits = shared(model.encode_image, data.images)
  labels = owns[known].argmax(axis=1)
  return {"open_set": open_set(logits[known], labels, logits[~known])}


def _classify(model: Model, data: Classes) -> dict[str, dict[str, float]]:
  """Measures zero-shot accuracy over leaf classes, and hierarchical errors."""
  names = sorted(set(data.labels))
  labels = np.array([names.index(label) for label in data.labels])
  embeddings = shared(model.encode_image, data.images)
  classes = class_embeddings(model, names, TEMPLATES)
  predicted = [names[i] for i in predict(model, embeddings, classes)]
  new = data.held_out
  groups = {
    "zero_shot": _accuracies(model, embeddings, labels, classes),
    "zero_shot_held_out": _accuracies(
      model, embeddings[new], labels[new], classes
    ),
    "hierarchy": rated(data.parents, names, predicted, data.labels),
  }
  if not model.classes:  # a classifier has no words above its classes
    nodes = [node for node in data.parents if node not in names]
    words = dict(zip(names, classes, strict=True)) | dict(
      zip(nodes, class_embeddings(model, nodes, TEMPLATES), strict=True)
    )
    groups["words"] = tree.entailment(
      model.space,
      data.parents,
      {node: words[node] for node in tree.inner(data.parents)},
      embeddings,
      data.labels,
    )
    groups["words_distance"] = tree.radii(model.space, data.parents, words)
  if isinstance(model.space, Gaussian):
    groups |= inclusion.of_hierarchy(
      data.parents, words, embeddings, data.labels
    )
  nouns = [i for i, name in enumerate(names) if name in data.wordnet]
  if nouns:
    # Of all models the same images, to be named by a noun.
    known = np.isin(labels, nouns)
    found = predict(model, embeddings[known], classes[nouns])
    groups["hierarchy_wordnet"] = rated(
      data.wordnet,
      [names[i] for i in nouns],
      [names[nouns[i]] for i in found],
      [names[i] for i in labels[known]],
    ) | {"images": float(known.sum()), "classes": float(len(nouns))}
  return groups


def summary(results: dict[str, float]) -> list[str]:
  """Formats the SUMMARY measures as the parts of a line of progress."""
  names = [name.split("/", 1) for name in results]
  numbers = (
    f"{name} {value:.3f}"
    for (_, name), value in zip(names, results.values(), strict=True)
    if name in SUMMARY
  )
  return [names[0][0], *numbers]
