"""Multi-label classification: images that show several classes at once.

For each class the images are ranked by how near they are to its prompt. Names
and template are those of CLIP's own evaluation of VOC2007 ("a photo of a
diningtable."), which clip-benchmark follows. Images are squashed to a square: a
crop would cut off objects at the border.
"""

import pathlib

import numpy as np
from jaxtyping import Float, Int8

from hyperclip_jax.evals.datasets.coco import read_instances
from hyperclip_jax.evals.datasets.files import Source, require
from hyperclip_jax.evals.encoding import encode_files, squash
from hyperclip_jax.evals.metrics.ranking import mean_average_precision
from hyperclip_jax.evals.tasks import Results, Task, left, within
from hyperclip_jax.files import inside, read_text, shown
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.protocol import Model

TEMPLATES = ("a photo of a {}.",)

VOC_CLASSES = (
  "aeroplane",
  "bicycle",
  "bird",
  "boat",
  "bottle",
  "bus",
  "car",
  "cat",
  "chair",
  "cow",
  "diningtable",
  "dog",
  "horse",
  "motorbike",
  "person",
  "pottedplant",
  "sheep",
  "sofa",
  "train",
  "tvmonitor",
)

VOC_WANTED = Source(
  "voc2007",
  "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (VOCtest_06-Nov-2007.tar)",
  "voc2007/VOCdevkit/VOC2007/ImageSets/Main/CLASS_test.txt\n"
  "voc2007/VOCdevkit/VOC2007/JPEGImages/*.jpg",
)


def voc2007(model: Model, folder: pathlib.Path) -> Results:
  """Measures mean average precision on the test split of VOC2007.

  An image may show a class only in objects marked as difficult. VOC's own
  evaluation leaves such an image out of that class's ranking; clip-benchmark
  counts it as positive. Average precision is the sum in `ranking`, not the
  11-point interpolation of 2007.

  Args:
    model: model to measure.
    folder: folder with VOCdevkit.

  Returns:
    map: difficult objects left out.
    map_with_difficult: difficult objects positive; and counts.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a file is damaged; the message names the file and line.
  """
  names, marks = read_voc2007(folder)
  photos = folder / "VOCdevkit" / "VOC2007" / "JPEGImages"
  paths = [inside(photos, f"{name}.jpg") for name in names]
  require(paths, VOC_WANTED)
  embeddings, good, left_out = encode_files(model, paths, squash)
  scores, marks = _scores(model, embeddings, VOC_CLASSES), marks[good]
  return {
    "map": mean_average_precision(marks == 1, scores, marks != 0),
    "map_with_difficult": mean_average_precision(marks >= 0, scores),
    **_counts(scores),
    **left(left_out),
  }


def coco(model: Model, folder: pathlib.Path) -> Results:
  """Measures mean average precision on COCO val2017, over its 80 classes.

  An image shows a class if any of its objects, crowds included, is of that
  class. Images without objects are left out, as is usual.

  Args:
    model: model to measure.
    folder: folder with annotations and val2017.

  Returns:
    map, and counts.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and its number.
  """
  data = read_instances(folder)
  rows = {
    image: i
    for i, image in enumerate(dict.fromkeys(box.image for box in data.boxes))
  }
  columns = {category: i for i, category in enumerate(data.categories)}
  if not rows:
    raise ValueError(f"{folder}: the annotations contain no object")
  truth = np.zeros((len(rows), len(columns)), bool)
  for box in data.boxes:
    truth[rows[box.image], columns[box.category]] = True
  paths = [data.images[i].path for i in rows]
  embeddings, good, left_out = encode_files(model, paths, squash)
  scores = _scores(model, embeddings, tuple(data.categories.values()))
  return {
    "map": mean_average_precision(truth[good], scores),
    **_counts(scores),
    **left(left_out),
  }


def read_voc2007(
  folder: pathlib.Path,
) -> tuple[list[str], Int8[np.ndarray, "images classes"]]:
  """Reads the names of the test images, and whether each shows each class.

  Args:
    folder: folder with VOCdevkit.

  Returns:
    Names without a file suffix, and int8 (images, 20): 1 if the image shows the
    class, -1 if it does not, 0 if only in difficult objects.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a file is damaged; the message names the file and line.
  """
  lists = folder / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
  paths = [lists / f"{name}_test.txt" for name in VOC_CLASSES]
  require(paths, VOC_WANTED)
  names: list[str] = []
  columns = []
  for path in paths:
    rows = [_mark(path, n, line) for n, line in _lines(path)]
    if names and [name for name, _ in rows] != names:
      raise ValueError(f"{path}: not the images of {paths[0].name}, in order")
    names = [name for name, _ in rows]
    columns.append([mark for _, mark in rows])
  return names, np.array(columns, np.int8).T


def _lines(path: pathlib.Path) -> list[tuple[int, str]]:
  lines = enumerate(read_text(path).split("\n"), 1)
  found = [(number, line) for number, line in lines if line.strip()]
  if not found:
    raise ValueError(f"{path}: empty")
  return found


def _mark(path: pathlib.Path, number: int, line: str) -> tuple[str, int]:
  match line.split():
    case [name, ("1" | "0" | "-1") as mark]:
      return name, int(mark)
  raise ValueError(
    f"{path}: line {number}: {shown(repr(line))} is not an image's name and 1, "
    "0 or -1"
  )


def _scores(
  model: Model, embeddings: Float[np.ndarray, "images dim"], names: tuple
) -> Float[np.ndarray, "images classes"]:
  return model.similarity(embeddings, class_embeddings(model, names, TEMPLATES))


def _counts(scores: Float[np.ndarray, "images classes"]) -> dict[str, float]:
  images, classes = scores.shape
  return {"images": float(images), "classes": float(classes)}


TASKS = (
  Task("voc2007", within("voc2007", voc2007), {}),
  Task("coco_multi_label", within("coco", coco), {}),
)
