"""Tasks of `benchmarks`: DataComp's 38 data sets, and those of SLIP.

Images are resized by their short side, bicubically, and the centre is cropped,
as DataComp does for all of them. The metrics are its, too: a worst group is
taken over all groups that have an image, also over those that the authors of a
data set leave out.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Float

from hyperclip_jax.data.records.images import Pixels, center_square
from hyperclip_jax.evals import benchmarks, encoding, rates
from hyperclip_jax.evals.benchmarks import DataSet
from hyperclip_jax.evals.datasets import labelled, webdataset
from hyperclip_jax.evals.datasets.files import (
  Source,
  parsed,
  require,
  unique,
)
from hyperclip_jax.evals.metrics import by_class, zero_shot
from hyperclip_jax.evals.metrics.prompts import Pool
from hyperclip_jax.evals.metrics.ranking import auroc
from hyperclip_jax.evals.metrics.retrieval import recalls
from hyperclip_jax.evals.metrics.scores import Similarity, by_each
from hyperclip_jax.evals.metrics.uncertainty import correlations
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left
from hyperclip_jax.files import inside, shown
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference.protocol import Model

KS = (1, 5, 10)
POOL = 20  # images a class of the pool that prompts are chosen by
HUB = "https://huggingface.co/datasets"
GROUPED = ("worst_group", "worst_group_top5")  # by the first number of KEY.npy
WINOGAVIL = Source(
  "winogavil",
  "https://github.com/WinoGAViL/WinoGAViL-experiments (a clone of it, with the "
  "images that its download-images.py fetches)",
  "winogavil/assets/game_5_6.csv\n"
  "winogavil/assets/game_10_12.csv\n"
  "winogavil/assets/images/*.png",
)


class Split(NamedTuple):
  """An encoded split of a data set.

  Attributes:
    embeddings: float32 (images, dim).
    labels: class of each image.
    groups: group of each image; zeros if there are none.
    left_out: reason for each bad image, by its name.
  """

  embeddings: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  left_out: dict[str, str]


def _folder(data: pathlib.Path, name: str) -> pathlib.Path:
  """Finds the folder of a data set.

  Raises:
    MissingData: there is none.
  """
  for folder in (data / name, data / f"{name}_test"):
    if (folder / "test").is_dir():
      return folder
  layout = [
    f"{name}/{webdataset.NAMES}",
    f"{name}/{webdataset.TEMPLATES}",
    f"{name}/test/{webdataset.COUNT}",
    f"{name}/test/*.tar, or",
    f"the same in {name}_test, by",
    f"hf download djghosh/{name}_test --repo-type=dataset "
    f"--local-dir=DIR/{name}_test",
  ]
  raise MissingData(
    name,
    f"{HUB}/djghosh/{name}_test (of DataComp) or {HUB}/clip-benchmark/{name}, "
    "or make it with clip_benchmark_export_wds",
    "\n".join(layout),
  )


def _split(
  model: Model,
  folder: pathlib.Path,
  split: str,
  data_set: DataSet,
  most: int | None = None,
) -> Split | None:
  """Encodes a split of a data set for classification.

  Args:
    model: model to encode with.
    folder: folder of the data set.
    split: name of the folder below it.
    data_set: what is known of the data set.
    most: number of images to take; None for all.

  Returns:
    The split, or None if it is missing.

  Raises:
    ValueError: it is damaged.
    OSError: a file cannot be read.
  """
  if not (folder / split).is_dir():
    return None
  count = len(webdataset.class_names(folder))
  read, number, name = _reader(folder, split, data_set.metric in GROUPED)
  numbers = range(number)
  if most is not None and most < number:
    numbers = [i * number // most for i in range(most)]

  def attempt(place: int) -> tuple[Pixels, tuple[int, int]]:
    pixels, label, group = read(numbers[place])
    if not 0 <= label < count:
      raise ValueError(
        f"{name(numbers[place])}: class {label}, but {webdataset.NAMES} lists "
        f"{count} (from 0)"
      )
    return center_square(pixels, model.image_size), (label, group)

  found = encoding.encode(model, len(numbers), attempt)
  left_out = {
    name(numbers[place]): reason.removeprefix(f"{name(numbers[place])}: ")
    for place, reason in found.left_out.items()
  }
  labels, groups = np.array(found.notes, np.int64).T
  return Split(found.embeddings, labels, groups, left_out)


def _reader(
  folder: pathlib.Path, split: str, grouped: bool
) -> tuple[Callable[[int], tuple[Pixels, int, int]], int, Callable[[int], str]]:
  """Opens a split: reader of (pixels, label, group), count, and names."""
  paths = webdataset.tars(folder / split)
  if not paths:
    plain = labelled.images_in(folder / split)
    return (lambda i: (*plain.read(i), 0)), plain.count, plain.name
  needs = ("cls", "npy") if grouped else ("cls",)
  rows = webdataset.rows(paths, needs)

  def read(number: int) -> tuple[Pixels, int, int]:
    row = rows[number]
    label = row.label()
    group = row.group() if grouped else 0
    return row.pixels(), label, group

  return read, len(rows), lambda i: rows[i].where


def classify(data_set: DataSet, model: Model, data: pathlib.Path) -> Results:
  """Measures zero-shot classification.

  Args:
    data_set: data set to measure on.
    model: model to measure.
    data: folder of all data sets.

  Returns:
    accuracy and accuracy_top5 over images, mean_per_class, and the metric of
    the data set; these in all ways of `zero_shot.measures`.

  Raises:
    MissingData: the data set is missing.
    ValueError: it is damaged.
    OSError: a file cannot be read.
  """
  folder = _folder(data, data_set.name)
  names, texts = webdataset.class_names(folder), webdataset.templates(folder)
  found = _split(model, folder, "test", data_set)
  if found is None:
    raise ValueError(f"{folder}: no test")
  count = len(found.labels) + len(found.left_out)
  if data_set.images and count != data_set.images:
    logging.warning(
      "%s has %d images, not %d as published: its numbers may not compare",
      folder,
      count,
      data_set.images,
    )

  def pool() -> Pool | None:
    most = POOL * len(names)
    some = _split(model, folder, "train", data_set, most)
    return some and Pool("train", some.embeddings, some.labels)

  rate = functools.partial(_rates, data_set.metric, model.space, found)
  return zero_shot.measures(
    model, found.embeddings, names, texts, rate, data_set.metric, pool
  ) | left(found.left_out)


def _rates(
  metric: str,
  space: Space,
  found: Split,
  similarity: Similarity,
  classes: Float[np.ndarray, "classes dim"],
) -> dict[str, float]:
  """Measures a split by one similarity."""
  labels = found.labels
  near = zero_shot.nearest(similarity, found.embeddings, classes, 5)
  right = near == labels[:, None]
  first, any_of_five = right[:, 0], right.any(axis=1)
  by_classes = rates.classified(right, labels, len(classes))
  measures = {
    **rates.proportion("accuracy", first, 1 / len(classes)),
    **rates.proportion(
      "accuracy_top5", any_of_five, min(1.0, 5 / len(classes))
    ),
    "mean_per_class": by_classes["top1"],
    f"mean_per_class{rates.ERROR}": by_classes[f"top1{rates.ERROR}"],
    f"mean_per_class{rates.CHANCE}": 1 / len(classes),
    "images": by_classes["images"],
    "classes": by_classes["classes"],
    **correlations(
      space, found.embeddings, {"accuracy": first, "accuracy_top5": any_of_five}
    ),
  }
  match metric:
    case "macro_f1":
      measures[metric] = by_class.macro_f1(near[:, 0], labels)
    case "worst_group":
      measures[metric] = by_class.worst_group(first, found.groups)
    case "worst_group_top5":
      measures[metric] = by_class.worst_group(any_of_five, found.groups)
    case "top1_top5":
      measures[metric] = float((first.mean() + any_of_five.mean()) / 2)
    case "auroc":
      scores = similarity(found.embeddings, classes)
      measures[metric] = auroc(labels == 1, scores[:, 1] - scores[:, 0])
      measures[f"{metric}{rates.CHANCE}"] = 0.5
  return measures


def retrieve(data_set: DataSet, model: Model, data: pathlib.Path) -> Results:
  """Measures retrieval in both directions.

  Args:
    data_set: data set to measure on.
    model: model to measure.
    data: folder of all data sets.

  Returns:
    `retrieval.recalls`, and mean_r1, the mean of both directions.

  Raises:
    MissingData: the data set is missing.
    ValueError: it is damaged.
    OSError: a file cannot be read.
  """
  rows = webdataset.rows(
    webdataset.tars(_folder(data, data_set.name) / "test"), ("txt",)
  )

  def read(number: int) -> tuple[Pixels, list[str]]:
    captions = rows[number].captions()
    return center_square(rows[number].pixels(), model.image_size), captions

  found = encoding.encode(model, len(rows), read)
  captions = [
    (text, row) for row, texts in enumerate(found.notes) for text in texts
  ]
  texts = model.encode_text([text for text, _ in captions])
  owners = np.array([row for _, row in captions])
  measures = recalls(model, found.embeddings, texts, owners, KS)
  both = {
    f"mean_r1{ending}": (
      measures[f"i2t_r1{ending}"] + measures[f"t2i_r1{ending}"]
    )
    / 2
    for ending in ("", "_cosine")
    if f"i2t_r1{ending}" in measures
  }
  out = {rows[n].where: reason for n, reason in found.left_out.items()}
  return measures | both | left(out)


class Game(NamedTuple):
  """A round of WinoGAViL: which candidates go with a cue?

  Attributes:
    cue: word.
    images: candidates.
    wanted: whether each goes with it.
  """

  cue: str
  images: tuple[pathlib.Path, ...]
  wanted: tuple[bool, ...]


def associate(data_set: DataSet, model: Model, data: pathlib.Path) -> Results:
  """Measures WinoGAViL: as many images as go with a cue, nearest first.

  Bitton et al., NeurIPS 2022 (arXiv 2207.12576).

  Args:
    data_set: data set to measure on.
    model: model to measure.
    data: folder of all data sets.

  Returns:
    jaccard_5_6 and jaccard_10_12: Jaccard index of the chosen and the wanted
    images, mean over the games of so many candidates. Games with an image that
    cannot be read are left out.

  Raises:
    MissingData: a file is missing.
    ValueError: a file is damaged.
    OSError: a file cannot be read.
  """
  folder = data / data_set.name
  games = {
    size: _games(folder, folder / "assets" / f"game_{size}.csv")
    for size in ("5_6", "10_12")
  }
  everything = [game for of in games.values() for game in of]
  paths, _ = unique([path for game in everything for path in game.images])
  images, good, left_out = encoding.encode_files(model, paths, center_square)
  place = {paths[i]: row for row, i in enumerate(good)}
  cues, _ = unique([_prompt(game.cue) for game in everything])
  texts = dict(zip(cues, model.encode_text(cues), strict=True))

  def measure(similarity: Similarity) -> dict[str, float]:
    found = {}
    for size, of in games.items():
      scored = [
        _jaccard(similarity, texts[_prompt(game.cue)], images, game, place)
        for game in of
        if place.keys() >= {*game.images}
      ]
      if not scored:
        raise ValueError(f"{folder}: no game of {size} has all its images")
      found |= rates.means((f"jaccard_{size}",), np.array(scored)[:, None])
    return found

  return by_each(model, measure) | left(left_out)


def _jaccard(
  similarity: Similarity,
  cue: Float[np.ndarray, " dim"],
  images: Float[np.ndarray, "images dim"],
  game: Game,
  place: dict[pathlib.Path, int],
) -> float:
  rows = images[[place[path] for path in game.images]]
  order = np.argsort(-similarity(cue[None], rows)[0], kind="stable")
  chosen = np.zeros(len(rows), bool)
  chosen[order[: sum(game.wanted)]] = True
  return by_class.jaccard(chosen, np.array(game.wanted))


def _prompt(cue: str) -> str:
  return f"{'An' if cue[0].lower() in 'aeiou' else 'A'} {cue.lower()}"


def _games(folder: pathlib.Path, path: pathlib.Path) -> list[Game]:
  """Reads the games of one size."""
  photos = folder / "assets" / "images"
  require([path, photos], WINOGAVIL)

  def game(row: Mapping[str, Any]) -> Game:
    candidates = _words(row, "candidates")
    wanted = {*_words(row, "associations")}
    cue = (row.get("cue") or "").strip()
    if not cue or not wanted or not wanted <= {*candidates}:
      raise ValueError("the associations are not some of the candidates")
    files = tuple(inside(photos, f"{name}.png") for name in candidates)
    return Game(cue, files, tuple(n in wanted for n in candidates))

  games = parsed(path, game, "game")
  require(dict.fromkeys(f for game in games for f in game.images), WINOGAVIL)
  return games


def _words(row: Mapping[str, Any], column: str) -> list[str]:
  """Reads a list of words in JSON."""
  found = json.loads(row.get(column) or "null")
  match found:
    case [str(), *_] if all(isinstance(word, str) for word in found):
      return [*found]
  raise ValueError(f"{column} is {shown(repr(found))}, not a list of words")


RUNS = {
  "classification": classify,
  "retrieval": retrieve,
  "associations": associate,
}
TASKS = tuple(
  Task(data_set.name, functools.partial(RUNS[data_set.kind], data_set), {})
  for data_set in benchmarks.data_sets()
)
