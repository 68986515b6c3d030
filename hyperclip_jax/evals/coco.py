"""COCO val2017: its images and the boxes drawn in them."""

import math
import pathlib
from typing import Any, NamedTuple

from hyperclip_jax.evals.files import Source, require
from hyperclip_jax.files import inside, read_json

WANTED = Source(
  "coco",
  "https://cocodataset.org/#download (2017 Val images, 2017 Train/Val "
  "annotations)",
  "coco/annotations/instances_val2017.json\ncoco/val2017/*.jpg",
)


class Image(NamedTuple):
  """An image file, with the size in pixels that its boxes refer to."""

  path: pathlib.Path
  width: int
  height: int


class Box(NamedTuple):
  """One annotated object.

  Attributes:
    image: the id of its image.
    category: the id of its category.
    xywh: left, top, width and height in pixels.
    area: of the object's outline in pixels, which is less than the box's.
    crowd: whether it stands for a group.
  """

  image: int
  category: int
  xywh: tuple[float, float, float, float]
  area: float
  crowd: bool


class Instances(NamedTuple):
  """The annotations: images and category names by id, and the boxes."""

  images: dict[int, Image]
  categories: dict[int, str]
  boxes: list[Box]


def read_instances(folder: pathlib.Path) -> Instances:
  """Reads annotations/instances_val2017.json; images are looked for, not read.

  Raises:
    MissingData: the annotations or an image is not there.
    ValueError: a record is damaged; its file and id are named.
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
  """A box of four finite numbers, width and height not negative."""
  x, y, width, height = (float(number) for number in value)
  if (
    not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0
  ):
    raise ValueError(f"{value} is no box [left, top, width, height]")
  return x, y, width, height


def _records(path, kind, table, convert, folder) -> list[tuple[int, Any]]:
  """(id, converted record) of each, or the error that names the record."""
  rows = []
  for number, record in enumerate(
    table if isinstance(table, list) else [table]
  ):
    where = f"{path}: {kind} number {number}"
    try:
      rows.append((int(record["id"]), convert(record, folder)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
  return rows


def _image(record, folder) -> Image:
  width, height = int(record["width"]), int(record["height"])
  if min(width, height) < 1:
    raise ValueError(f"{width} x {height} is no size")
  return Image(inside(folder, record["file_name"]), width, height)


def _category(record, folder) -> str:
  del folder
  return str(record["name"])


def _box(record, folder) -> Box:
  del folder
  return Box(
    int(record["image_id"]),
    int(record["category_id"]),
    xywh(record["bbox"]),
    float(record["area"]),
    bool(record["iscrowd"]),
  )
