"""Folders of images by class, as inputs of `prepare`."""

import csv
import os
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from hyperclip_jax.commands import door
from hyperclip_jax.data.prepare import inputs, run
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.prepare.tally import Tally
from hyperclip_jax.data.records import shards
from hyperclip_jax.data.records.sample import Reading
from tests.data.tars import jpeg


def put(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(len(name)))


@pytest.fixture
def animals(tmp_path):
  folder = tmp_path / "animals"
  put(folder, "cat/1.jpg", "cat/2.JPEG", "dog/1.png", "birds/wild owl/a.webp")
  put(folder, ".git/x.jpg", "__MACOSX/cat/1.jpg", "cat/.hidden.jpg")
  (folder / "cat/notes.md").touch()
  return folder


def test_the_name_of_the_folder_is_the_caption(animals):
  found: Any = inputs.find([str(animals)], None, 3)
  assert [len(source.rows) for source in found] == [3, 1]
  tally = Tally()
  records = [
    record
    for source in found
    for record in inputs.read(source, tally, Reading(8))
  ]
  assert sorted((r.caption, r.meta["file_name"]) for r in records) == [
    ("birds/wild owl", os.path.join("birds", "wild owl", "a.webp")),
    ("cat", os.path.join("cat", "1.jpg")),
    ("cat", os.path.join("cat", "2.JPEG")),
    ("dog", os.path.join("dog", "1.png")),
  ]
  assert [r.key for r in records] == ["0", "1", "2", "3"]
  assert not tally.records


def test_the_order_mixes_classes_and_is_always_the_same(tmp_path):
  names = [f"{label}/{i}.jpg" for label in ("a", "b") for i in range(20)]
  put(tmp_path / "one", *names)
  put(tmp_path / "two", *reversed(names))
  (one,), (two,) = (
    inputs.find([str(tmp_path / name)], None, 100) for name in ("one", "two")
  )
  assert one.rows == two.rows  # type: ignore
  first = [row.caption for row in one.rows[:20]]  # type: ignore
  assert 4 < first.count("a") < 16


def test_it_is_prepared_and_resumed(animals, tmp_path):
  output = str(tmp_path / "out")
  for _ in range(2):
    made = run.prepare([str(animals)], output, Options(shard_size=3), jobs=1)
    assert made["totals"]["records"] == 4
  source = shards.TarSource(shards.expand([output]), 8)
  assert {source[i].caption for i in range(4)} == {
    "cat",
    "dog",
    "birds/wild owl",
  }
  (animals / "dog/1.png").write_bytes(jpeg(9))
  with pytest.raises(ValueError, match="was made from animals, images"):
    run.prepare([str(animals)], output, Options(shard_size=3), jobs=1)


def test_images_without_a_class_are_named(tmp_path):
  put(tmp_path / "a", "cat/1.jpg", "dog/1.jpg", "zebra.jpg")
  with pytest.raises(ValueError, match="is a folder of images"):
    inputs.find([str(tmp_path / "a")], None, 10)
  # img2dataset's files have their captions beside them.
  put(tmp_path / "b", "00000/0.jpg", "00001/1.jpg")
  (tmp_path / "b/00000/0.txt").write_text("a cat")
  found: Any = inputs.find([str(tmp_path / "b")], None, 10)
  assert [row.caption for source in found for row in source.rows] == [
    "a cat",
    None,
  ]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_of_paths_and_captions_is_prepared(kind, tmp_path):
  put(tmp_path / "images", "1.jpg", "2.jpg")
  rows = {
    "filepath": ["images/1.jpg", "images/2.jpg"],
    "title": ["cat", "a, b"],
  }
  table = tmp_path / f"pairs.{kind}"
  if kind == "parquet":
    parquet.write_table(pyarrow.table(rows), table)
  else:
    with table.open("w", newline="") as file:
      writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
      writer.writerows([rows, *zip(*rows.values(), strict=True)])
  output = str(tmp_path / "out")
  assert door.run(["prepare", f"--input={table}", f"--output={output}"]) == 0
  source = shards.TarSource(shards.expand([output]), 8)
  assert {source[i].caption for i in range(len(source))} == {*rows["title"]}
