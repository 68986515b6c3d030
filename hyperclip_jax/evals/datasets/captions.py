"""Retrieval on COCO and Flickr30k, with several captions for each image.

Images are squashed to a square, as in the code of MERU and HyCoCLIP: a crop
could lose what a caption describes. Both report COCO's val2017 and Karpathy's
split of Flickr30k; other papers use Karpathy's split of COCO too. An image that
cannot be read is left out with its captions.
"""

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from hyperclip_jax.evals import encoding, paper
from hyperclip_jax.evals.datasets.files import Source, require
from hyperclip_jax.evals.metrics.retrieval import recalls
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left
from hyperclip_jax.files import inside, read_json, shown
from hyperclip_jax.inference.protocol import Model

KS = (1, 5, 10)


class Captioned(NamedTuple):
  """An image file and its captions, at least one."""

  path: pathlib.Path
  captions: tuple[str, ...]


COCO = Source(
  "coco",
  "https://cocodataset.org/#download (2017 Val images, 2017 Train/Val "
  "annotations)",
  "coco/annotations/captions_val2017.json\ncoco/val2017/*.jpg",
)
FLICKR30K = Source(
  "flickr30k",
  "https://cs.stanford.edu/people/karpathy/deepimagesent (flickr30k.zip), "
  "https://shannon.cs.illinois.edu/DenotationGraph (the images)",
  "flickr30k/dataset_flickr30k.json\nflickr30k/flickr30k_images/*.jpg",
)


def coco(data: pathlib.Path) -> list[Captioned]:
  """Lists the 5,000 images of COCO's val2017 with their captions.

  Args:
    data: folder of all data sets.

  Returns:
    Images and captions; the images are not read yet.

  Raises:
    MissingData: a file or folder is missing.
    ValueError: the JSON does not have COCO's layout.
    OSError: a file cannot be read.
  """
  folder = data / "coco"
  path = folder / "annotations" / "captions_val2017.json"
  require([path, folder / "val2017"], COCO)
  found = _read(path, lambda content: _coco(content, folder / "val2017"))
  require((row.path for row in found), COCO)
  return found


def _coco(content: Any, photos: pathlib.Path) -> Iterator[Captioned]:
  """Yields the images that have captions."""
  captions: dict[Any, list[str]] = {}
  for number, note in enumerate(content["annotations"]):
    text = _text(note["caption"], f"the caption of annotation number {number}")
    captions.setdefault(note["image_id"], []).append(text)
  for image in content["images"]:
    if image["id"] in captions:
      file = inside(photos, image["file_name"])
      yield Captioned(file, tuple(captions[image["id"]]))


def coco_karpathy(data: pathlib.Path) -> list[Captioned]:
  """Lists the 5,000 images of Karpathy's test split of COCO with captions.

  The images are those of val2014, or the same ones in train2017 and val2017.

  Args:
    data: folder of all data sets.

  Returns:
    Images and captions; the images are not read yet.

  Raises:
    MissingData: a file is missing.
    ValueError: the JSON does not have Karpathy's layout.
    OSError: a file cannot be read.
  """
  folder = data / "coco"
  path = folder / "dataset_coco.json"
  missing = MissingData(
    "coco_karpathy",
    "https://cs.stanford.edu/people/karpathy/deepimagesent (coco.zip), "
    "https://cocodataset.org/#download (2014 Val images)",
    "coco/dataset_coco.json\n"
    "coco/val2014/COCO_val2014_*.jpg, or coco/train2017/*.jpg and "
    "coco/val2017/*.jpg",
  )
  if not path.exists():
    raise missing
  rows = _read(path, lambda content: _karpathy(content, folder))
  newer = [(folder / "val2017"), (folder / "train2017")]
  found = []
  for row in rows:
    name = row.path.name.rpartition("_")[2]
    places = (row.path, *(place / name for place in newer))
    file = next((file for file in places if file.exists()), None)
    if file is None:
      raise missing
    found.append(row._replace(path=file))
  return found


def flickr30k(data: pathlib.Path) -> list[Captioned]:
  """Lists the 1,000 images of Karpathy's test split of Flickr30k with captions.

  Args:
    data: folder of all data sets.

  Returns:
    Images and captions; the images are not read yet.

  Raises:
    MissingData: a file or folder is missing.
    ValueError: the JSON does not have Karpathy's layout.
    OSError: a file cannot be read.
  """
  folder = data / "flickr30k"
  path = folder / "dataset_flickr30k.json"
  photos = folder / "flickr30k_images"
  require([path, photos], FLICKR30K)
  found = _read(path, lambda content: _karpathy(content, photos))
  require((row.path for row in found), FLICKR30K)
  return found


def _karpathy(content: Any, folder: pathlib.Path) -> Iterator[Captioned]:
  """Yields the test split of one of Karpathy's files."""
  for image in content["images"]:
    if image["split"] == "test":
      name = os.path.join(image.get("filepath", ""), image["filename"])
      where = f"a sentence of {shown(name)}"
      captions = [_text(s["raw"], where) for s in image["sentences"]]
      if not captions:
        raise ValueError(f"{shown(name)} has no sentences")
      yield Captioned(inside(folder, name), tuple(captions))


def _text(value: Any, where: str) -> str:
  if not isinstance(value, str):
    raise ValueError(f"{where} is {shown(repr(value))}, not a text")
  return value


def _read(
  path: pathlib.Path, rows: Callable[[Any], Iterator[Captioned]]
) -> list[Captioned]:
  """Reads rows from a JSON file; any fault in it becomes one message."""
  content = read_json(path)
  try:
    found = list(rows(content))
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path}: not in the published format: "
      f"{type(error).__name__}: {shown(error)}; download it again"
    ) from error
  if not found:
    raise ValueError(f"{path}: no image to evaluate on")
  return found


def _task(name: str, rows: Callable[[pathlib.Path], list[Captioned]]) -> Task:
  def run(model: Model, data: pathlib.Path) -> Results:
    found = rows(data)
    images, good, left_out = encoding.encode_files(
      model, [row.path for row in found], encoding.squash
    )
    captions = [
      (text, row) for row, i in enumerate(good) for text in found[i].captions
    ]
    texts = model.encode_text([text for text, _ in captions])
    owners = np.array([row for _, row in captions])
    return recalls(model, images, texts, owners, KS) | left(left_out)

  return Task(name, run, paper.numbers(name))


TASKS = (
  _task("coco", coco),
  _task("coco_karpathy", coco_karpathy),
  _task("flickr30k", flickr30k),
)
