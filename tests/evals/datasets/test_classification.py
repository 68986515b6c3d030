"""Data sets laid out as the real ones are, in small."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from hyperclip_jax.evals import catalog, rates
from hyperclip_jax.evals.datasets import classification, labelled
from hyperclip_jax.evals.datasets.classification import DATA_SETS
from hyperclip_jax.evals.tasks import MissingData
from tests.data import tars
from tests.evals import pictures
from tests.evals.pictures import BLUE, GREEN, RED

BY_NAME = {data_set.name: data_set for data_set in DATA_SETS}


def prompts(name, axes):
  """A table of all prompts of a data set: those of `axes` have a direction."""
  directions = np.eye(3)
  return {
    template.format(text): tuple(
      directions[axes[text]] if text in axes else -np.ones(3)
    )
    for template in classification.templates(name)
    for text in classification.class_names(name).values()
  }


def run(make_model, name, data, axes) -> Any:
  model = make_model(table=prompts(name, axes))
  task = next(task for task in catalog.TASKS if task.name == name)
  return task.run(model, data)


def test_the_twenty_are_there_with_all_their_classes_and_prompts():
  assert len(BY_NAME) == len(DATA_SETS) == 20
  for data_set in DATA_SETS:
    texts = classification.templates(data_set.name)
    assert texts
    assert all(text.count("{}") == 1 for text in texts)
    if data_set.name != "cub2011":  # Its folders have good names.
      names = classification.class_names(data_set.name)
      assert len(names) == data_set.count
      plain = {classification._plain(key) for key in names}
      assert len(plain) == data_set.count, data_set.name
  assert len(classification.templates("imagenet")) == 80


def test_image_folders(make_model, tmp_path):
  # torchvision's 101_ObjectCategories, sorted in another order than TFDS's.
  root = tmp_path / "caltech101" / "test"
  for i in range(3):
    pictures.write(root / "Faces_easy" / f"image_000{i}.jpg", RED, "JPEG")
  pictures.write(root / "airplanes" / "image_0001.jpg", GREEN, "JPEG")
  pictures.write(root / "airplanes" / "image_0002.jpg", RED, "JPEG")
  axes = {"centered face": 0, "airplane": 1}
  found = run(make_model, "caltech101", tmp_path, axes)
  assert rates.measured(found) == {"top1": 0.75, "top5": pytest.approx(1.0)}
  # Three images of a class and two of another: 1/3 + 1/2 of a draw, a quarter
  # of it for the mean of two.
  error = (0.75 * 0.25 * (1 / 3 + 1 / 2) / 4) ** 0.5
  assert found["top1_se"] == pytest.approx(error)
  assert found["top1_chance"] == 1 / 102
  assert (found["images"], found["classes"]) == (5, 102)


def test_folders_below_folders_and_ids(make_model, tmp_path):
  root = tmp_path / "sun397" / "test"
  pictures.write(root / "a" / "apse" / "indoor" / "sun_a.jpg", RED, "JPEG")
  pictures.write(root / "a" / "abbey" / "sun_b.jpg", GREEN, "JPEG")
  axes = {"apse indoor": 0, "abbey": 1}
  assert run(make_model, "sun397", tmp_path, axes)["top1"] == 1
  root = tmp_path / "imagenet" / "val"
  pictures.write(root / "n01443537" / "ILSVRC2012_1.JPEG", RED, "JPEG")
  pictures.write(root / "n01440764" / "ILSVRC2012_2.JPEG", GREEN, "JPEG")
  axes = {"goldfish": 0, "tench": 1}
  assert run(make_model, "imagenet", tmp_path, axes)["top1"] == 1


def test_birds_are_named_by_their_folders(tmp_path, make_model):
  root = tmp_path / "cub2011" / "test"
  names = ["Black_footed_Albatross", *(f"Bird_{i}" for i in range(2, 201))]
  for i, name in enumerate(names):
    (root / f"{i + 1:03d}.{name}").mkdir(parents=True)
  pictures.write(root / "001.Black_footed_Albatross" / "a.jpg", RED, "JPEG")
  found = classification.encoded(make_model(), tmp_path, BY_NAME["cub2011"])
  assert found.names[:2] == ("Black footed Albatross", "Bird 2")
  (root / "200.Bird_200").rmdir()
  with pytest.raises(ValueError, match="found 199 classes of 200"):
    classification.encoded(make_model(), tmp_path, BY_NAME["cub2011"])


def write_tars(root, rows, classnames=None):
  """As clip-benchmark's tars: SPLIT/N.tar and classnames.txt."""
  (root / "test").mkdir(parents=True)
  for shard, part in enumerate(rows):
    members = []
    for i, (colour, label) in enumerate(part):
      members += [
        (f"s{i:07d}.webp", pictures.encoded(colour, "WEBP")),
        (f"s{i:07d}.cls", str(label).encode()),
      ]
    tars.write_tar(root / "test" / f"{shard}.tar", members)
  if classnames:
    (root / "classnames.txt").write_text("\n".join(classnames) + "\n")


def test_webdataset_tars(make_model, tmp_path):
  names = sorted(classification.class_names("stl10"), reverse=True)
  rows = [[(RED, 0)], [(GREEN, 1), (GREEN, 0)]]  # 0 is the truck, 1 the ship.
  write_tars(tmp_path / "stl10", rows, names)
  found = run(make_model, "stl10", tmp_path, {"truck": 0, "ship": 1})
  assert found["top1"] == pytest.approx((0.5 + 1) / 2)


def test_tars_without_names_have_ours(make_model, tmp_path):
  write_tars(tmp_path / "mnist", [[(RED, 7), (GREEN, 2)]])
  assert run(make_model, "mnist", tmp_path, {"7": 0, "2": 1})["top1"] == 1


@pytest.fixture
def tfds(monkeypatch):
  """A tensorflow_datasets that knows what was asked of it."""
  module = types.ModuleType("tensorflow_datasets")
  asked = {}

  class Source(list):
    dataset_info = types.SimpleNamespace(features={})

  def data_source(name, **flags):
    asked.update(flags, name=name)
    source = Source(asked.get("rows", []))
    label = types.SimpleNamespace(names=asked.get("names", []))
    source.dataset_info = types.SimpleNamespace(features={"label": label})
    return source

  vars(module).update(
    data_source=data_source,
    decode=types.SimpleNamespace(SkipDecoding=lambda: "skip"),
  )
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  return asked


def prepare(data, *folders):
  path = data.joinpath(*folders, "dataset_info.json")
  path.parent.mkdir(parents=True)
  path.write_text("{}")


def test_prepared_by_tfds(make_model, tmp_path, tfds):
  prepare(tmp_path, "eurosat", "rgb", "2.0.0")
  tfds["names"] = [*classification.class_names("eurosat")]
  tfds["rows"] = [
    {"image": pictures.encoded(RED), "label": 1},
    {"image": pictures.encoded(GREEN), "label": 9},
  ]
  axes = {"forest": 0, "lake or sea": 1}
  assert run(make_model, "eurosat", tmp_path, axes)["top1"] == 1
  assert tfds["name"] == "eurosat"
  assert tfds["split"] == "train[10000:15000]"
  assert tfds["download"] is False
  assert tfds["decoders"] == {"image": "skip"}


def test_clevr_counts_objects(make_model, tmp_path, tfds):
  prepare(tmp_path, "clevr", "3.1.0")
  tfds["rows"] = [
    {"image": pictures.encoded(RED), "objects": {"color": [0] * 3}},
    {"image": pictures.encoded(GREEN), "objects": {"color": [0] * 10}},
  ]
  axes = {"three": 0, "ten": 1}
  assert run(make_model, "clevr", tmp_path, axes)["top1"] == 1
  assert tfds["split"] == "validation[:5000]"


def test_without_tfds_one_is_told(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  prepare(tmp_path, "dtd", "3.0.1")
  with pytest.raises(OSError, match=r"dtd was prepared by TFDS.*\[eval\]"):
    labelled.find(tmp_path, "dtd", "test", "dtd", "test")


@pytest.mark.parametrize("name", BY_NAME)
def test_missing_data_says_where_and_how(make_model, tmp_path, name):
  with pytest.raises(MissingData) as error:
    classification.encoded(make_model(), tmp_path, BY_NAME[name])
  assert "http" in error.value.where
  assert f"{name}/{BY_NAME[name].split}/CLASS/*.jpg" in str(error.value)


def test_broken_data_is_named(make_model, tmp_path):
  def encoded(name):
    return classification.encoded(make_model(), tmp_path, BY_NAME[name])

  pictures.write(tmp_path / "dtd" / "test" / "banana" / "1.jpg", BLUE)
  with pytest.raises(ValueError, match="class 'banana' that is not one of"):
    encoded("dtd")
  path = tmp_path / "food101" / "validation" / "apple_pie" / "1.jpg"
  path.parent.mkdir(parents=True)
  with pytest.raises(ValueError, match="found no image"):
    encoded("food101")
  path.write_bytes(b"nothing")
  with pytest.raises(ValueError, match=r"apple_pie/1.*not decode"):
    encoded("food101")
  write_tars(tmp_path / "mnist", [[(RED, 10)]])
  with pytest.raises(ValueError, match="image 0 is of class 10"):
    encoded("mnist")
  write_tars(tmp_path / "stl10", [[(RED, "cat")]])
  with pytest.raises(ValueError, match="cls is b'cat'"):
    encoded("stl10")
  write_tars(tmp_path / "cifar10", [[]])
  with pytest.raises(ValueError, match="no image found"):
    encoded("cifar10")
  tars.write_tar(tmp_path / "mnist" / "test" / "0.tar", [("1.jpg", b"")])
  with pytest.raises(ValueError, match="has jpg; expected an image"):
    encoded("mnist")


CLUTTER = (
  "n01440764/._a.JPEG",
  "n01440764/.ipynb_checkpoints/a-checkpoint.JPEG",
  "n01440764/@eaDir/thumb.jpg",
  "n01440764/Thumbs.db",
  "n01440764/desktop.ini",
  ".ipynb_checkpoints/x.txt",
  ".DS_Store",
  "__MACOSX/x/._a.JPEG",
  "#recycle/old.jpg",
  "notes/readme.txt",
  "labels.csv",
)


@pytest.mark.parametrize("name", CLUTTER)
def test_what_tools_leave_behind_is_no_class_and_no_image(tmp_path, name):
  root = tmp_path / "imagenet" / "val"
  for label in ("n01440764", "n01443537"):
    pictures.write(root / label / "a.JPEG", RED, "JPEG")
  pictures.write(root / "x.png", RED)
  (root / name).parent.mkdir(parents=True, exist_ok=True)
  (root / "x.png").rename(root / name)
  found = labelled.find(tmp_path, "imagenet", "val", "", "")
  assert found.classes == ("n01440764", "n01443537")
  assert found.count == 2


def test_images_beside_the_classes_are_told_to_move(tmp_path):
  root = tmp_path / "imagenet" / "val"
  for i in range(3):
    pictures.write(root / f"ILSVRC2012_val_0000000{i}.JPEG", RED, "JPEG")
  message = (
    r"3 images are directly in it.*val_00000000\.JPEG.*val/CLASS/\*\.jpg"
  )
  with pytest.raises(ValueError, match=message):
    labelled.find(tmp_path, "imagenet", "val", "", "")
  (root / "n01440764").mkdir()
  with pytest.raises(ValueError, match=message):
    labelled.find(tmp_path, "imagenet", "val", "", "")


def test_a_bad_image_is_left_out_and_named(make_model, tmp_path):
  root = tmp_path / "caltech101" / "test"
  for i in range(3):
    pictures.write(root / "Faces_easy" / f"{i}.jpg", RED, "JPEG")
  pictures.write(root / "airplanes" / "1.jpg", GREEN, "JPEG")
  bad = root / "Faces_easy" / "1.jpg"
  bad.write_bytes(b"nothing")
  axes = {"centered face": 0, "airplane": 1}
  found = run(make_model, "caltech101", tmp_path, axes)
  assert (found["top1"], found["images"]) == (1, 3)
  assert list(found["left_out"]) == [str(bad)]
  assert found["left_out"][str(bad)].startswith("cannot decode")


def test_a_bad_record_of_a_tar_is_left_out_and_named(make_model, tmp_path):
  write_tars(tmp_path / "mnist", [[(RED, 7), (GREEN, 2)]])
  members = [("a.webp", b"nothing"), ("a.cls", b"1")]
  tars.write_tar(tmp_path / "mnist" / "test" / "1.tar", members)
  found = run(make_model, "mnist", tmp_path, {"7": 0, "2": 1})
  assert (found["top1"], found["images"]) == (1, 2)
  (name,) = found["left_out"]
  assert name.endswith("1.tar: record 'a'")


@pytest.mark.parametrize("mark", ["\ufeff", "", "\u2028", "\x85"])
def test_names_of_classes_are_lines(make_model, tmp_path, mark):
  names = sorted(classification.class_names("stl10"), reverse=True)
  write_tars(tmp_path / "stl10", [[(RED, 0)], [(GREEN, 1)]])
  text = "\r\n".join(names)
  inside = text.replace("truck", f"truck{mark}") if mark != "\ufeff" else text
  path = tmp_path / "stl10" / "classnames.txt"
  start = mark.encode() if mark == "\ufeff" else b""
  path.write_bytes(start + inside.encode())
  found = run(make_model, "stl10", tmp_path, {"truck": 0, "ship": 1})
  assert found["top1"] == 1


def test_names_of_classes_in_latin_1_are_named(tmp_path):
  write_tars(tmp_path / "stl10", [[(RED, 0)]])
  path = tmp_path / "stl10" / "classnames.txt"
  path.write_bytes("v\xe9lo\n".encode("latin-1"))
  with pytest.raises(ValueError, match=r"classnames\.txt: not UTF-8"):
    labelled.find(tmp_path, "stl10", "test", "", "")
