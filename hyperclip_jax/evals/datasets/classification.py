"""Zero-shot classification on the 20 data sets of MERU and HyCoCLIP.

Splits are those of MERU (meru/evaluation/catalog.py of
https://github.com/facebookresearch/meru), as is the measure, accuracy averaged
over classes. Class names and prompts are those of clip-benchmark (see
assets/NOTICE).
"""

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hyperclip_jax.data.records import images
from hyperclip_jax.evals import encoding, paper
from hyperclip_jax.evals.datasets import labelled
from hyperclip_jax.evals.datasets.labelled import Labelled
from hyperclip_jax.evals.metrics import zero_shot
from hyperclip_jax.evals.metrics.prompts import Pool
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left
from hyperclip_jax.files import read_json, shown
from hyperclip_jax.inference.protocol import Model

TRAIN = "train"  # split, and folder, of the pool
ASSETS = pathlib.Path(__file__).parent / "assets"


class DataSet(NamedTuple):
  """Where to find a data set.

  Attributes:
    name: name of the task, and of the folder of images or tars.
    split: name of the folder below it.
    count: number of classes.
    where: where to download it.
    tfds: name in TensorFlow Datasets (TFDS), or "" if it has none.
    tfds_split: official split, in TFDS's notation.
    pool: images to choose prompts by, likewise; none of the official split.
  """

  name: str
  split: str
  count: int
  where: str
  tfds: str = ""
  tfds_split: str = "test"
  pool: str = "train"


_TORCHVISION = "https://docs.pytorch.org/vision/stable/datasets.html"
DATA_SETS = (
  DataSet(
    "food101",
    "validation",
    101,
    "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
    "food101",
    "validation",
  ),
  DataSet(
    "cifar10",
    "test",
    10,
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "cifar10",
  ),
  DataSet(
    "cifar100",
    "test",
    100,
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "cifar100",
  ),
  DataSet(
    "cub2011",
    "test",
    200,
    "https://www.vision.caltech.edu/datasets/cub_200_2011",
    "caltech_birds2011",
  ),
  DataSet(
    "sun397",
    "test",
    397,
    "https://vision.princeton.edu/projects/2010/SUN",
    "sun397/standard-part1-120k",
  ),
  DataSet(
    "stanford_cars", "test", 196, f"{_TORCHVISION} (StanfordCars)", "cars196"
  ),
  DataSet(
    "fgvc_aircraft",
    "test",
    100,
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft (variants)",
  ),
  DataSet(
    "dtd", "test", 47, "https://www.robots.ox.ac.uk/~vgg/data/dtd", "dtd"
  ),
  DataSet(
    "oxford_iiit_pet",
    "test",
    37,
    "https://www.robots.ox.ac.uk/~vgg/data/pets",
    "oxford_iiit_pet",
  ),
  DataSet(
    "caltech101",
    "test",
    102,
    "https://data.caltech.edu/records/mzrjq-6wc02",
    "caltech101",
  ),
  DataSet(
    "flowers102",
    "test",
    102,
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
    "oxford_flowers102",
  ),
  DataSet(
    "stl10", "test", 10, "https://cs.stanford.edu/~acoates/stl10", "stl10"
  ),
  DataSet(
    "eurosat",
    "test",
    10,
    "https://github.com/phelber/eurosat",
    "eurosat",
    "train[10000:15000]",
    "train[:10000]",
  ),
  DataSet(
    "resisc45",
    "test",
    45,
    "https://gcheng-nwpu.github.io",
    "resisc45",
    "train[20%:]",
    "train[:20%]",
  ),
  DataSet("country211", "test", 211, f"{_TORCHVISION} (Country211)"),
  DataSet("mnist", "test", 10, "http://yann.lecun.com/exdb/mnist", "mnist"),
  DataSet(
    "clevr",
    "validation",
    8,
    "https://cs.stanford.edu/people/jcjohns/clevr",
    "clevr",
    "validation[:5000]",
  ),
  DataSet(
    "patch_camelyon",
    "test",
    2,
    "https://github.com/basveeling/pcam",
    "patch_camelyon",
  ),
  DataSet("rendered_sst2", "test", 2, f"{_TORCHVISION} (RenderedSST2)"),
  DataSet(
    "imagenet",
    "val",
    1000,
    "https://image-net.org (ILSVRC 2012)",
    "imagenet2012",
    "validation",
  ),
)


POOL = 20  # images a class of the pool that prompts are chosen by


class Classified(NamedTuple):
  """An encoded data set.

  Attributes:
    embeddings: float32 (images, dim).
    labels: index in `names` of each image's class.
    names: class names for prompts.
    left_out: reason for each bad image, by the image's name.
  """

  embeddings: np.ndarray
  labels: np.ndarray
  names: tuple[str, ...]
  left_out: dict[str, str]


def encoded(model: Model, data: pathlib.Path, data_set: DataSet) -> Classified:
  """Reads and encodes a data set: short side to the model's size, centre crop.

  Images that cannot be read are left out.

  Args:
    model: model to encode with.
    data: folder of all data sets.
    data_set: data set to encode.

  Returns:
    Embeddings and labels of the readable images.

  Raises:
    MissingData: the data set is missing.
    ValueError: the data set is damaged.
    OSError: a file cannot be read.
  """
  found = labelled.find(
    data,
    data_set.name,
    data_set.split,
    data_set.tfds,
    data_set.tfds_split,
  )
  if found is None:
    raise MissingData(data_set.name, data_set.where, _layout(data_set))
  if not found.count:
    raise ValueError(f"{data / data_set.name}: no image found")
  return _encoded(model, data / data_set.name, data_set, found)


def pooled(model: Model, data: pathlib.Path, data_set: DataSet) -> Pool | None:
  """Encodes images of the training split, about POOL of each class.

  Args:
    model: model to encode with.
    data: folder of all data sets.
    data_set: data set whose prompts are to be chosen.

  Returns:
    Labelled images, or None if that split is missing.

  Raises:
    ValueError: the split is damaged.
    OSError: a file cannot be read.
  """
  found = labelled.find(
    data, data_set.name, TRAIN, data_set.tfds, data_set.pool
  )
  if found is None or not found.count:
    return None
  some = labelled.sample(found, POOL * data_set.count)
  rows = _encoded(model, data / data_set.name, data_set, some)
  return Pool(TRAIN, rows.embeddings, rows.labels)


def _encoded(
  model: Model, folder: pathlib.Path, data_set: DataSet, found: Labelled
) -> Classified:
  names, order = _names(data_set, found)

  def read(number: int) -> tuple[images.Pixels, int]:
    pixels, label = found.read(number)
    if not 0 <= label < len(order):
      raise ValueError(
        f"{folder}: image {number} is of class {label}, but there are "
        f"{len(order)} (from 0)"
      )
    return images.center_square(pixels, model.image_size), order[label]

  good = encoding.encode(model, found.count, read)
  left_out = {
    found.name(number): reason.removeprefix(f"{found.name(number)}: ")
    for number, reason in good.left_out.items()
  }
  labels = np.array(good.notes, np.int64)
  return Classified(good.embeddings, labels, names, left_out)


def templates(name: str) -> tuple[str, ...]:
  """Returns the prompts of a data set, with {} for the name of a class."""
  return tuple(_asset("templates")[name])


def class_names(name: str) -> dict[str, str]:
  """Maps a data set's own class names to those used in prompts."""
  return _asset("classes")[name]


@functools.cache
def _asset(name: str) -> dict:
  return read_json(ASSETS / f"{name}.json")


def _names(
  data_set: DataSet, found: Labelled
) -> tuple[tuple[str, ...], list[int]]:
  """Returns class names for prompts, and the index among them of each label."""
  known: Mapping[str, str] = _asset("classes").get(data_set.name, {})
  if not known:  # the data set's own names do: "001.Black_footed_Albatross"
    names = tuple(
      re.sub(r"^\d+\.", "", name).replace("_", " ") for name in found.classes
    )
    if len(names) != data_set.count:
      raise ValueError(
        f"{data_set.name}: found {len(names)} classes of {data_set.count}"
      )
    return names, list(range(len(names)))
  names = tuple(known.values())
  own = [_plain(name) for name in found.classes]
  if not own or own == [_plain(name) for name in names]:
    return names, list(range(len(names)))
  places = {_plain(name): i for i, name in enumerate(names)}
  places |= {_plain(key): i for i, key in enumerate(known)}
  for name, plain in zip(found.classes, own, strict=True):
    if plain not in places:
      raise ValueError(
        f"{data_set.name}: it has a class {shown(repr(name))} that is not one "
        f"of the {data_set.count}: {', '.join([*known][:5])}, ..."
      )
  return names, [places[name] for name in own]


def _plain(name: str) -> str:
  """Normalises "Faces_easy" to "faces easy", and "/a/abbey" to "a abbey"."""
  return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def _layout(data_set: DataSet) -> str:
  name, split = data_set.name, data_set.split
  lines = [
    f"{name}/{split}/CLASS/*.jpg, or",
    f"{name}/{split}/*.tar of KEY.jpg and KEY.cls, with {name}/classnames.txt",
  ]
  if data_set.tfds:
    lines[-1] += ", or"
    lines += [
      f"{data_set.tfds}/VERSION, whose split {data_set.tfds_split} is the "
      f"official one, by",
      f"tfds build {data_set.tfds} --file_format=array_record --data_dir=DIR",
    ]
  return "\n".join(lines)


def _task(data_set: DataSet) -> Task:
  def run(model: Model, data: pathlib.Path) -> Results:
    found = encoded(model, data, data_set)
    return zero_shot.measures(
      model,
      found.embeddings,
      found.names,
      templates(data_set.name),
      zero_shot.accuracies(model.space, found.embeddings, found.labels),
      "top1",
      lambda: pooled(model, data, data_set),
    ) | left(found.left_out)

  return Task(data_set.name, run, paper.numbers(data_set.name), version=2)


TASKS = tuple(_task(data_set) for data_set in DATA_SETS)
