"""Annotations of COCO val2017: images, and boxes of objects in them."""

import collections
import math
import pathlib
from typing import Any, NamedTuple

from hyperclip_jax.evals.datasets.files import Source, require
from hyperclip_jax.files import inside, read_json, shown

WANTED = Source(
  "coco",
  "https://cocodataset.org/#download (2017 Val images, 2017 Train/Val "
  "annotations)",
  "coco/annotations/instances_val2017.json\ncoco/val2017/*.jpg",
)


class Image(NamedTuple):
  """An image file, and the size in pixels to which its boxes refer."""

  path: pathlib.Path
  width: int
  height: int


class Box(NamedTuple):
  """An annotated object.

  Attributes:
    image: id of the image.
    category: id of the category.
    xywh: left, top, width and height in pixels.
    area: area of the object's outline in square pixels, smaller than the box's.
    crowd: whether the box holds a group of objects.
  """

  image: int
  category: int
  xywh: tuple[float, float, float, float]
  area: float
  crowd: bool


class Instances(NamedTuple):
  """Annotations of a data set.

  Attributes:
    images: images by id.
    categories: names of the categories by id.
    boxes: annotated objects.
  """

  images: dict[int, Image]
  categories: dict[int, str]
  boxes: list[Box]


def read_instances(folder: pathlib.Path) -> Instances:
  """Reads annotations/instances_val2017.json, and checks that all images exist.

  Args:
    folder: folder of COCO, with annotations and val2017.

  Returns:
    Annotations; the images are not read yet.

  Raises:
    MissingData: the annotations or an image is missing.
    ValueError: a record is damaged; the message names the file and the record.
  """
  path = folder / "annotations" / "instances_val2017.json"
  require([path, folder / "val2017"], WANTED)
  content = read_json(path)
  try:
    tables = [content[name] for name in ("images", "categories", "annotations")]
  except (KeyError, TypeError):
    raise ValueError(
      f"{path}: no object with images, categories and annotations; is it COCO's"
      f" file of object instances?"
    ) from None
  images = dict(_records(path, "image", tables[0], _image, folder / "val2017"))
  categories = dict(_records(path, "category", tables[1], _category, folder))
  pairs = _records(path, "annotation", tables[2], _box, folder)
  boxes = [box for _, box in pairs]
  for (number, _), box in zip(pairs, boxes, strict=True):
    if box.image not in images or box.category not in categories:
      raise ValueError(
        f"{path}: annotation {number}: unknown image {box.image} or category "
        f"{box.category}"
      )
  require((image.path for image in images.values()), WANTED)
  return Instances(images, categories, boxes)


def xywh(value: Any) -> tuple[float, float, float, float]:
  """Checks a box: four finite numbers, with width and height not negative."""
  match value:
    case [x, y, width, height] if all(map(is_finite, value)):
      if min(width, height) >= 0:
        return float(x), float(y), float(width), float(height)
  raise ValueError(f"{value!r:.80} is not a box [left, top, width, height]")


def is_finite(value: Any) -> bool:
  """Checks for a finite number; neither a text nor a boolean is one."""
  return (
    isinstance(value, (int, float))
    and not isinstance(value, bool)
    and math.isfinite(value)
  )


def whole(value: Any) -> int:
  """Converts a whole number, which some writers store as 1.0 or "1"."""
  number = int(value)
  if isinstance(value, bool) or number != float(value):
    raise ValueError(f"{value!r:.80} is not a whole number")
  return number


def _records(path, kind, table, convert, folder) -> list[tuple[int, Any]]:
  """Converts records to (id, value) pairs; an error names the bad record."""
  rows = []
  for number, record in enumerate(
    table if isinstance(table, list) else [table]
  ):
    where = f"{path}: {kind} number {number}"
    try:
      rows.append((whole(record["id"]), convert(record, folder)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      problem = f"{type(error).__name__}: {shown(error)}"
      raise ValueError(f"{where}: {problem}") from error
  if len(dict(rows)) < len(rows):
    twice, _ = collections.Counter(n for n, _ in rows).most_common(1)[0]
    raise ValueError(f"{path}: the {kind} id {twice} occurs twice")
  return rows


def _image(record, folder) -> Image:
  width, height = whole(record["width"]), whole(record["height"])
  if min(width, height) < 1:
    raise ValueError(f"{width} x {height} is not an image size")
  return Image(inside(folder, record["file_name"]), width, height)


def _category(record, folder) -> str:
  del folder
  if not isinstance(record["name"], str):
    raise ValueError(f"the name {record['name']!r:.80} is not a text")
  return record["name"]


def _box(record, folder) -> Box:
  del folder
  return Box(
    whole(record["image_id"]),
    whole(record["category_id"]),
    xywh(record["bbox"]),
    _area(record["area"]),
    _flag(record["iscrowd"]),
  )


def _flag(value: Any) -> bool:
  if value not in (0, 1):
    raise ValueError(f"iscrowd is {value!r:.80}, not 0 or 1")
  return bool(value)


def _area(value: Any) -> float:
  if not is_finite(value):
    raise ValueError(f"area {value!r:.80} is not a finite number")
  return float(value)
