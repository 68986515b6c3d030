"""Average precision of object detection as in COCO, by groups of classes.

The groups are those of open-vocabulary detection: 48 base and 17 novel classes
(their source is in assets/coco_open_vocabulary.json).
"""

import contextlib
import functools
import importlib.resources
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.evals.datasets.coco import Instances

PER_IMAGE = 100  # detections of each image that COCO counts


class Detection(NamedTuple):
  """A detected object.

  Attributes:
    image: id of the image.
    category: id of the category.
    xywh: left, top, width and height in pixels.
    score: confidence; only the order matters.
  """

  image: int
  category: int
  xywh: tuple[float, ...]
  score: float


@functools.cache
def split() -> tuple[list[str], list[str]]:
  """Returns the names of the base and of the novel classes."""
  file = importlib.resources.files("hyperclip_jax.evals.datasets") / "assets"
  text = (file / "coco_open_vocabulary.json").read_text(encoding="utf-8")
  content = json.loads(text)
  return content["base"], content["novel"]


def tools() -> tuple[Any, Any]:
  """Imports COCO and COCOeval from pycocotools.

  Raises:
    OSError: pycocotools is not installed.
  """
  try:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
  except ImportError as error:
    raise OSError(
      "COCO's average precision needs pycocotools: "
      'pip install "hyperclip-jax[eval]"'
    ) from error
  return COCO, COCOeval


def average_precisions(
  data: Instances, detections: Sequence[Detection]
) -> dict[str, float]:
  """Computes COCO's average precision with pycocotools, over groups of classes.

  Args:
    data: annotations.
    detections: detections; at most 100 for each image and class are counted.

  Returns:
    ap_all, ap_base and ap_novel: means over the classes and over the IoU
    thresholds .50, .55, ..., .95; ap50_all, ap50_base and ap50_novel: at .50. A
    group without an annotated class is left out.

  Raises:
    OSError: pycocotools is not installed.
  """
  precision = _precision(data, detections)
  base, novel = split()
  # pycocotools orders classes by id
  names = np.array([data.categories[i] for i in sorted(data.categories)])
  result = {}
  for group, wanted in (
    ("all", base + novel),
    ("base", base),
    ("novel", novel),
  ):
    chosen = precision[:, :, np.isin(names, wanted)]
    chosen = chosen[:, :, (chosen > -1).all(axis=(0, 1))]
    if chosen.size:
      result[f"ap_{group}"] = float(chosen.mean())
      result[f"ap50_{group}"] = float(chosen[0].mean())
  return result


def _precision(
  data: Instances, detections: Sequence[Detection]
) -> Float[np.ndarray, "thresholds recalls classes"]:
  """Returns interpolated precision by class id; -1 if it is not annotated."""
  coco, evaluate = tools()
  truth = [
    _annotation(i, box.image, box.category, box.xywh)
    | {"iscrowd": int(box.crowd), "area": box.area}
    for i, box in enumerate(
      data.boxes, 1
    )  # pycocotools takes id 0 for no match
  ]
  found = [
    _annotation(i, *row[:3]) | {"iscrowd": 0, "area": 0.0, "score": row.score}
    for i, row in enumerate(detections, 1)
  ]
  with contextlib.redirect_stdout(io.StringIO()):
    sides: list[Any] = [coco(), coco()]
    for side, annotations in zip(sides, (truth, found), strict=True):
      side.dataset = {
        "images": [{"id": image} for image in data.images],
        "categories": [{"id": category} for category in data.categories],
        "annotations": annotations,
      }
      side.createIndex()
    evaluation = evaluate(*sides, iouType="bbox")
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [PER_IMAGE]
    evaluation.evaluate()
    evaluation.accumulate()
  return evaluation.eval["precision"][:, :, :, 0, 0]


def _annotation(number, image, category, place) -> dict:
  return {
    "id": number,
    "image_id": image,
    "category_id": category,
    "bbox": list(place),
  }
