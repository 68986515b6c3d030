"""Reads labelled images that TensorFlow Datasets has prepared as ArrayRecord.

An input is written tfds:NAME:SPLIT, such as tfds:cifar10:train or
tfds:imagenet2012:train[:10%]. The caption of an image is the name of its label;
the image stays encoded as it is. TensorFlow is not needed.
"""

import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.records.sample import Sample

PREFIX = "tfds:"


class Split(NamedTuple):
  """Some images of a split: the input of one shard.

  Attributes:
    path: folder of the prepared data set.
    data_dir: folder of all data sets; None for that of TFDS.
    name: name of the data set.
    split: split in TFDS's notation.
    start: number of the first image.
    stop: number after that of the last.
  """

  path: str
  data_dir: str | None
  name: str
  split: str
  start: int
  stop: int


def cut(written: str, data_dir: str | None, shard_size: int) -> list[Split]:
  """Opens a split, and cuts it into inputs.

  Args:
    written: "tfds:NAME:SPLIT".
    data_dir: folder of all data sets; None for that of TFDS.
    shard_size: number of images in each input.

  Returns:
    Inputs, one for each shard.

  Raises:
    ValueError: it is written otherwise, or there is no such data set with one
      label an image.
    ModuleNotFoundError: tensorflow-datasets is not installed.
  """
  _, _, rest = written.partition(":")
  name, _, split = rest.partition(":")
  if not name or not split:
    raise ValueError(
      f"want tfds:NAME:SPLIT, such as tfds:cifar10:train, found "
      f"{files.shown(written)}"
    )
  source = _open(name, split, data_dir)
  path = str(source.dataset_info.data_dir)
  return [
    Split(path, data_dir, name, split, i, min(i + shard_size, len(source)))
    for i in range(0, len(source), shard_size)
  ]


def digest(source: Split) -> str:
  """Computes a digest of what TFDS says of the data set, and of the split."""
  info = _open(source.name, source.split, source.data_dir).dataset_info
  splits = {name: split.num_examples for name, split in info.splits.items()}
  about = f"{info.full_name} {source.split} {splits} {info.dataset_size}"
  return hashlib.sha256(about.encode()).hexdigest()[:32]


def samples(source: Split) -> Iterator[tuple[str, Callable[[], Sample]]]:
  """Yields the key of each image of an input, with a function that reads it."""
  found = _open(source.name, source.split, source.data_dir)
  names = found.dataset_info.features["label"].names
  for number in range(source.start, source.stop):
    yield str(number), functools.partial(_sample, found, names, number)


def _sample(found: Any, names: list[str], number: int) -> Sample:
  row = found[number]
  return Sample(str(number), names[int(row["label"])], bytes(row["image"]))


def _open(name: str, split: str, data_dir: str | None) -> Any:
  """Opens a split, with the encoded images and the names of their labels."""
  written = f"{PREFIX}{files.shown(name)}:{files.shown(split)}"
  try:
    tfds: Any = importlib.import_module("tensorflow_datasets")
  except ImportError as error:
    raise ModuleNotFoundError(
      f"{written} needs tensorflow-datasets: pip install 'hyperclip-jax[eval]'"
    ) from error
  try:
    found = tfds.data_source(
      name,
      split=split,
      data_dir=data_dir,
      download=False,
      decoders={"image": tfds.decode.SkipDecoding()},
    )
  except Exception as error:  # TFDS has many exception types
    reason = files.shown(" ".join(str(error).split()))
    where = f" --data_dir={files.shown(data_dir)}" if data_dir else ""
    raise ValueError(
      f"{written} cannot be read: {reason}\nPrepare it first: tfds build "
      f"{files.shown(name)} --file_format=array_record{where}"
    ) from error
  features = found.dataset_info.features
  wanted = {"image", "label"} <= {*features}
  if not wanted or not hasattr(features["label"], "names"):
    raise ValueError(
      f"{written} has no image with one label; found "
      f"{files.shown(', '.join(features))}"
    )
  return found
