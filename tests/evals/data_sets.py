"""Small data sets laid out as the real ones are."""

import json
import pathlib

import numpy as np
from PIL import Image


def write_json(path: pathlib.Path, content) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content), encoding="utf-8")


def annotation(number, image, category, bbox, crowd=0):
  return {
    "id": number,
    "image_id": image,
    "category_id": category,
    "bbox": bbox,
    "area": bbox[2] * bbox[3] / 2,
    "iscrowd": crowd,
    "segmentation": [[0, 0, 1, 0, 1, 1]],
  }


def coco(folder: pathlib.Path, pixels, categories, annotations) -> None:
  """COCO val2017: pixels are uint8 arrays or colours; ids count from 1."""
  images = []
  for number, image in enumerate(pixels, 1):
    array = np.asarray(image, np.uint8)
    if array.ndim == 1:
      array = np.broadcast_to(array, (8, 12, 3))
    name = f"{number:012d}.jpg"
    path = folder / "val2017" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95, subsampling=0)
    height, width, _ = array.shape
    images.append(
      {"id": number, "file_name": name, "width": width, "height": height}
    )
  write_json(
    folder / "annotations" / "instances_val2017.json",
    {
      "info": {},
      "licenses": [],
      "images": images,
      "annotations": annotations,
      "categories": [
        {"id": i, "name": name, "supercategory": "thing"}
        for i, name in categories.items()
      ],
    },
  )
