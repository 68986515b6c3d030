"""Zero-shot classification of given boxes, scored as object detection on COCO.

The classes are the 48 base and 17 novel ones of open-vocabulary detection; all
65 compete. It resembles the zero-shot evaluation of RegionCLIP
(https://github.com/microsoft/RegionCLIP): duplicates above an IoU of 0.5 are
suppressed, an image keeps at most 100 detections, and the score of a proposal
is the geometric mean, which ranks like the product used here. But class
probabilities are the model's own, at its trained scale, where RegionCLIP's
softmax has a temperature of 0.01; and RegionCLIP pools boxes from a feature
map, has a background class, and suppresses duplicates among annotated boxes
too. Compare models by these numbers, not with published tables.
"""

import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.data.records import images
from hyperclip_jax.evals.datasets.coco import (
  WANTED,
  Instances,
  is_finite,
  read_instances,
  whole,
  xywh,
)
from hyperclip_jax.evals.datasets.coco_ap import (
  PER_IMAGE,
  Detection,
  average_precisions,
  split,
  tools,
)
from hyperclip_jax.evals.datasets.files import Source, require
from hyperclip_jax.evals.encoding import squash
from hyperclip_jax.evals.tasks import Results, Task, left, within
from hyperclip_jax.files import read_json, shown
from hyperclip_jax.inference import reading
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.inputs import decode
from hyperclip_jax.inference.protocol import Model

TEMPLATES = ("a photo of a {}.",)
CHUNK = 1024  # boxes embedded at once: little of the last batch is padding
OVERLAP = 0.5  # proposals of one class above this IoU are one detection

PROPOSALS = "proposals_val2017.json"
PROPOSALS_WANTED = Source(
  "coco_proposals",
  "your own detector, run on the images of COCO val2017",
  f"coco/annotations/{PROPOSALS}: a list of\n"
  '  {"image_id": 139, "bbox": [left, top, width, height], "score": 0.9},\n'
  "  in pixels, scores from 0 to 1\n"
  f"{WANTED.layout}",
)


class Given(NamedTuple):
  """Boxes of one image to classify.

  Attributes:
    image: id of the image.
    boxes: left, top, width and height in pixels.
    scores: confidence from 0 to 1 that each box holds an object.
  """

  image: int
  boxes: Float[np.ndarray, "boxes 4"]
  scores: Float[np.ndarray, "boxes"]


def coco_boxes(model: Model, folder: pathlib.Path) -> Results:
  """Classifies the annotated boxes of COCO val2017 except crowds.

  Args:
    model: model to measure.
    folder: folder of COCO, with annotations and val2017.

  Returns:
    Results of `average_precisions`, and counts. An image that cannot be read is
    left out with its boxes.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and its number.
    OSError: pycocotools is not installed.
  """
  data = _open_vocabulary(read_instances(folder))
  tools()  # fails before the boxes are embedded rather than after
  rows: dict[int, list[tuple[float, ...]]] = {}
  for box in data.boxes:
    if not box.crowd:
      rows.setdefault(box.image, []).append(box.xywh)
  given = [
    Given(image, np.array(boxes), np.ones(len(boxes)))
    for image, boxes in rows.items()
  ]
  return _scored(model, data, given, overlap=1.0)


def coco_proposals(model: Model, folder: pathlib.Path) -> Results:
  """Classifies proposed boxes on COCO val2017.

  Images that show none of the 65 classes are left out, as is usual.

  Args:
    model: model to measure.
    folder: folder of COCO, with val2017 and annotations, which includes
      proposals_val2017.json.

  Returns:
    Results of `average_precisions`, and counts. An image that cannot be read is
    left out with its boxes.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and its number.
    OSError: pycocotools is not installed.
  """
  path = folder / "annotations" / PROPOSALS
  require([path], PROPOSALS_WANTED)
  everything = read_instances(folder)
  tools()
  data = _open_vocabulary(everything)
  given = [of for of in _proposals(path, everything) if of.image in data.images]
  if not given:
    raise ValueError(
      f"{path}: none of the boxes lies in an image of the 65 classes"
    )
  return _scored(model, data, given, overlap=OVERLAP)


def _scored(
  model: Model, data: Instances, given: Sequence[Given], overlap: float
) -> Results:
  """Scores detections, without images that cannot be read and their boxes."""
  found, left_out = detect(model, data, given, overlap)
  images = {i: image for i, image in data.images.items() if i not in left_out}
  boxes = [box for box in data.boxes if box.image in images]
  seen = data._replace(images=images, boxes=boxes)
  return {
    **average_precisions(seen, found),
    "images": float(len(images)),
    "classes": float(len(data.categories)),
    **left({data.images[i].path: reason for i, reason in left_out.items()}),
  }


def detect(
  model: Model, data: Instances, given: Sequence[Given], overlap: float
) -> tuple[list[Detection], dict[int, str]]:
  """Classifies boxes.

  A box is cut out and squashed to a square, so that all of it is seen. Its
  score for a class is its own times the class's `Model.probabilities`. An image
  keeps its 100 best pairs of a box and a class.

  Args:
    model: model to classify with.
    data: images, and classes that compete.
    given: boxes to classify.
    overlap: IoU above which the worse of two boxes of one class is dropped; 1
      keeps all.

  Returns:
    Detections, and the reason for each image left out, by its id.

  Raises:
    ValueError: an image differs in size from its annotations, no image can be
      read, or a similarity is NaN.
  """
  names = list(data.categories.values())
  ids = list(data.categories)
  classes = class_embeddings(model, names, TEMPLATES)
  groups = _groups(given)

  def read(of: Given) -> list[images.Pixels] | str:
    try:
      return _crops(data, of, model.image_size)
    except (images.ImageError, OSError) as error:
      return str(error).removeprefix(f"{data.images[of.image].path}: ")

  found, left_out = [], {}
  for numbered, read_ones in zip(
    groups, reading.ahead(groups, read), strict=True
  ):
    pairs = [*zip(numbered, read_ones, strict=True)]
    left_out |= {of.image: c for of, c in pairs if isinstance(c, str)}
    group = [of for of, c in pairs if not isinstance(c, str)]
    crops = [c for _, c in pairs if not isinstance(c, str)]
    if not group:
      continue
    flat = model.encode_image(list(itertools.chain(*crops)))
    shares = model.probabilities(flat, classes)
    if np.isnan(shares).any():
      raise ValueError("the model's similarities are NaN")
    ends = np.cumsum([len(of.boxes) for of in group])
    for of, rows in zip(group, np.split(shares, ends[:-1]), strict=True):
      scores = of.scores[:, None] * rows
      for box, label in _best(of.boxes, scores, overlap):
        place = tuple(of.boxes[box].tolist())
        score = float(scores[box, label])
        found.append(Detection(of.image, ids[label], place, score))
  if len(left_out) == len(given):
    image, reason = next(iter(left_out.items()))
    path = data.images[image].path
    raise ValueError(f"no image can be read; the first: {path}: {reason}")
  return found, left_out


def _open_vocabulary(data: Instances) -> Instances:
  """Selects the 65 classes, their boxes, and the images that show them."""
  names = {name: i for i, name in data.categories.items()}
  wanted = [name for group in split() for name in group]
  absent = [name for name in wanted if name not in names]
  if absent:
    raise ValueError(
      f"instances_val2017.json: {len(absent)} of COCO's categories are missing"
      f", such as {absent[0]!r}"
    )
  categories = {names[name]: name for name in wanted}
  boxes = [box for box in data.boxes if box.category in categories]
  showing = dict.fromkeys(box.image for box in boxes)
  if not showing:
    raise ValueError("instances_val2017.json: no box is of the 65 classes")
  return Instances({i: data.images[i] for i in showing}, categories, boxes)


def _proposals(path: pathlib.Path, data: Instances) -> list[Given]:
  content = read_json(path)
  if not isinstance(content, list) or not content:
    raise ValueError(f"{path}: not a list of boxes")
  rows: dict[int, list[tuple[float, ...]]] = {}
  for number, record in enumerate(content):
    try:
      image, score = whole(record["image_id"]), record["score"]
      if image not in data.images:
        raise ValueError(f"image {image} is not in instances_val2017.json")
      if not (is_finite(score) and 0 <= score <= 1):
        raise ValueError(f"score {score!r:.80} is not from 0 to 1")
      rows.setdefault(image, []).append((*xywh(record["bbox"]), score))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      raise ValueError(
        f"{path}: box number {number}: {type(error).__name__}: {shown(error)}"
      ) from error
  return [
    Given(image, array[:, :4], array[:, 4])
    for image, array in ((i, np.array(of)) for i, of in rows.items())
  ]


def _groups(given: Sequence[Given]) -> list[list[Given]]:
  """Splits images into groups of about CHUNK boxes."""
  groups: list[list[Given]] = []
  count = CHUNK
  for of in given:
    if count >= CHUNK:
      groups.append([])
      count = 0
    groups[-1].append(of)
    count += len(of.boxes)
  return groups


def _crops(data: Instances, given: Given, side: int) -> list[images.Pixels]:
  """Cuts the boxes of an image from its stored pixels, as squares to encode.

  EXIF orientation is ignored: the annotations refer to the pixels as stored.
  """
  photo = data.images[given.image]
  pixels = decode(photo.path.read_bytes(), str(photo.path))
  height, width, _ = pixels.shape
  if (width, height) != (photo.width, photo.height):
    raise ValueError(
      f"{photo.path}: {width} x {height} pixels, but the annotations say "
      f"{photo.width} x {photo.height}"
    )
  size = np.array([width, height, width, height])
  corners = given.boxes.copy()
  corners[:, 2:] += corners[:, :2]
  return [
    squash(images.crop(pixels, tuple(box)), side)
    for box in np.clip(corners / size, 0, 1).tolist()
  ]


def _best(
  boxes: Float[np.ndarray, "boxes 4"],
  scores: Float[np.ndarray, "boxes classes"],
  overlap: float,
) -> Iterator[tuple[int, int]]:
  """Yields the best pairs (box, class) of an image; see `detect`."""
  kept: dict[int, list[int]] = {}
  count = 0
  for flat in np.argsort(-scores, axis=None, kind="stable").tolist():
    box, label = divmod(flat, scores.shape[1])
    same = kept.setdefault(label, [])
    if same and _iou(boxes[box], boxes[same]).max() > overlap:
      continue
    yield box, label
    same.append(box)
    count += 1
    if count == PER_IMAGE:
      return


def _iou(
  box: Float[np.ndarray, "4"], others: Float[np.ndarray, "others 4"]
) -> Float[np.ndarray, "others"]:
  low = np.maximum(box[:2], others[:, :2])
  high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
  shared = np.prod(np.maximum(high - low, 0), axis=1)
  both = box[2] * box[3] + np.prod(others[:, 2:], axis=1) - shared
  return shared / np.maximum(both, 1e-9)


TASKS = (
  Task("coco_boxes", within("coco", coco_boxes), {}, version=2),
  Task("coco_proposals", within("coco", coco_proposals), {}, version=2),
)
