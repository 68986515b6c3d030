"""Readers of images with one class each: TFDS, image folders, webdataset tars.

A data set NAME may be in the folder of all data sets in one of three forms,
which are tried in this order:

- prepared by TensorFlow Datasets as ArrayRecord, TFDS_NAME/.../VERSION; it is
  read without TensorFlow;
- NAME/SPLIT/*.tar, with KEY.jpg and KEY.cls, the number of the class, and
  NAME/classnames.txt with the names of the classes, one per line;
- NAME/SPLIT/CLASS/*.jpg; classes may be nested (a/abbey). Hidden files and
  folders, and those left by file managers and archivers, are ignored.
"""

import importlib
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import logging

from hyperclip_jax.data.prepare.folders import is_kept
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.evals.datasets import webdataset
from hyperclip_jax.files import lines, read_text, shown
from hyperclip_jax.inference.inputs import decode, decode_file

FILES = ("jpg", "jpeg", "png", "webp", "ppm", "bmp", "tif", "tiff", "gif")


class Labelled(NamedTuple):
  """Images and the class of each.

  Attributes:
    classes: data set's own class names, by label; () if it has none.
    count: number of images.
    read: function of an image's number that returns (pixels, label); safe to
      call from any thread. It raises ImageError or OSError if the image is bad,
      and ValueError if its label is; either message starts with its name.
    name: function of an image's number that returns its name, for messages.
  """

  classes: tuple[str, ...]
  count: int
  read: Callable[[int], tuple[Pixels, int]]
  name: Callable[[int], str]


def find(
  data: pathlib.Path, name: str, split: str, tfds: str, tfds_split: str
) -> Labelled | None:
  """Opens a data set.

  Args:
    data: folder of all data sets.
    name: name of the folder of images or tars.
    split: name of the folder below it.
    tfds: name in TensorFlow Datasets, or "" if it has none.
    tfds_split: split in TFDS's notation, such as "train[20%:]".

  Returns:
    The data set, or None if it is missing.

  Raises:
    ValueError: it is damaged.
    OSError: it cannot be read, or it was prepared by TFDS and
      tensorflow-datasets is not installed.
  """
  if tfds and _is_prepared(data / tfds):
    return _prepared(data, tfds, tfds_split)
  folder = data / name / split
  tars = webdataset.tars(folder)
  if tars:
    return _tars(tars, data / name / webdataset.NAMES)
  if folder.is_dir():
    return images_in(folder)
  return None


def sample(found: Labelled, most: int) -> Labelled:
  """Selects evenly spaced images of a data set.

  Args:
    found: data set.
    most: number of images to select.

  Returns:
    Data set of `most` images, or of all if there are fewer.
  """
  if found.count <= most:
    return found
  numbers = [i * found.count // most for i in range(most)]
  return found._replace(
    count=most,
    read=lambda number: found.read(numbers[number]),
    name=lambda number: found.name(numbers[number]),
  )


def _is_prepared(folder: pathlib.Path) -> bool:
  """Checks whether TFDS left VERSION or CONFIG/VERSION in a folder."""
  return any(
    any(folder.glob(f"{versions}/dataset_info.json"))
    for versions in ("*", "*/*")
  )


def _prepared(data: pathlib.Path, name: str, split: str) -> Labelled:
  try:
    tfds: Any = importlib.import_module("tensorflow_datasets")
  except ImportError as error:
    raise OSError(
      f"{data / name} was prepared by TFDS, which is not installed: "
      f'pip install "hyperclip-jax[eval]"'
    ) from error
  try:
    source = tfds.data_source(
      name,
      split=split,
      data_dir=str(data),
      download=False,
      # images stay encoded: they are decoded below, with a limit on their size
      decoders={"image": tfds.decode.SkipDecoding()},
    )
  except NotImplementedError as error:
    raise ValueError(
      f"{data / name} was prepared in a format without random access; remove "
      "it and run:\n"
      f"tfds build {name} --file_format=array_record --data_dir={data}"
    ) from error
  except ValueError as error:
    raise ValueError(f"{data / name}: {split}: {error}") from error
  counted = name == "clevr"  # labelled by the number of objects
  classes = (
    tuple(str(n) for n in range(3, 11))
    if counted
    else tuple(source.dataset_info.features["label"].names)
  )

  def named(number: int) -> str:
    return f"{data / name} {split} {number}"

  def read(number: int) -> tuple[Pixels, int]:
    row = source[number]
    pixels = decode(bytes(row["image"]), named(number), upright=True)
    if counted:
      return pixels, classes.index(str(len(row["objects"]["color"])))
    return pixels, int(row["label"])

  return Labelled(classes, len(source), read, named)


def images_in(folder: pathlib.Path) -> Labelled:
  """Opens a folder of CLASS/*.jpg.

  Args:
    folder: folder of the split.

  Returns:
    Images, with classes in the order of their names.

  Raises:
    ValueError: there is no image, or one is in no class.
  """
  classes, files, others = [], [], []
  for path, below, names in os.walk(folder):
    below[:] = sorted(filter(is_kept, below))
    kept = sorted(filter(is_kept, names))
    found = [n for n in kept if n.lower().rpartition(".")[2] in FILES]
    others += [os.path.join(path, n) for n in kept if n not in found]
    if found and path == str(folder):
      raise ValueError(
        f"{folder}: {len(found):,} images are directly in it, such as "
        f"{shown(found[0])}, and so have no class; move each into the folder "
        f"of its class: {folder.name}/CLASS/*.jpg"
      )
    if found or not (below or kept):  # a folder of notes alone is not a class
      label = len(classes)
      classes.append(pathlib.Path(path).relative_to(folder).as_posix())
      files += [(os.path.join(path, name), label) for name in found]
  if others:
    logging.warning(
      "%s: ignored %d files that are not images by their names, such as %s",
      shown(folder),
      len(others),
      shown(others[0]),
    )
  if not files:
    raise ValueError(
      f"{folder}: found no image; expected CLASS/*.jpg (or "
      f"{', '.join(FILES[1:])}), or *.tar"
    )

  def read(number: int) -> tuple[Pixels, int]:
    path, label = files[number]
    return decode_file(path), label

  return Labelled(tuple(classes), len(files), read, lambda i: files[i][0])


def _tars(tars: list[pathlib.Path], names: pathlib.Path) -> Labelled:
  classes = tuple(lines(read_text(names))) if names.exists() else ()
  rows = webdataset.rows(tars, ("cls",))

  def read(number: int) -> tuple[Pixels, int]:
    label = rows[number].label()
    return rows[number].pixels(), label

  return Labelled(classes, len(rows), read, lambda i: rows[i].where)
