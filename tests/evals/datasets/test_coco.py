import json

import pytest

from hyperclip_jax.evals.datasets import coco
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import data_sets
from tests.evals.data_sets import annotation
from tests.evals.pictures import BLUE, RED


@pytest.fixture
def folder(tmp_path):
  boxes = [annotation(7, 2, 18, [1, 2, 3, 4.5], crowd=1)]
  data_sets.coco(tmp_path, [RED, BLUE], {18: "dog"}, boxes)
  return tmp_path


def test_reads_the_official_layout(folder):
  data = coco.read_instances(folder)
  path = folder / "val2017" / "000000000002.jpg"
  assert data.images[2] == coco.Image(path, 12, 8)
  assert data.categories == {18: "dog"}
  assert data.boxes == [coco.Box(2, 18, (1.0, 2.0, 3.0, 4.5), 6.75, True)]


def test_missing_files_are_named(folder, tmp_path):
  (folder / "val2017" / "000000000001.jpg").unlink()
  with pytest.raises(MissingData, match=r"lacks\n.*000000000001\.jpg\n"):
    coco.read_instances(folder)
  with pytest.raises(MissingData, match=r"cocodataset\.org"):
    coco.read_instances(tmp_path / "nowhere")


@pytest.mark.parametrize(
  ("table", "field", "value", "match"),
  [
    ("images", "file_name", "../x.jpg", "image number 0: .*not a file inside"),
    ("images", "width", 0, "image number 0: .*0 x 8 is not an image size"),
    ("images", "id", "one", "image number 0: "),
    ("categories", "name", ..., "category number 0: KeyError: 'name'"),
    ("annotations", "bbox", [1, 2, 3], "annotation number 0: "),
    ("annotations", "bbox", [1, 2, -3, 4], "annotation number 0: .*not a box"),
    (
      "annotations",
      "bbox",
      [1, 2, 1e999, 4],
      "annotation number 0: .*not a box",
    ),
    ("annotations", "bbox", None, "annotation number 0: .*None is not a box"),
    (
      "annotations",
      "bbox",
      "1234",
      "annotation number 0: .*'1234' is not a box",
    ),
    ("annotations", "bbox", [1, 2, "3", 4], "annotation number 0: .*not a box"),
    ("annotations", "area", float("nan"), "annotation number 0: .*area nan"),
    ("annotations", "area", "6", "annotation number 0: .*area '6'"),
    ("annotations", "iscrowd", "0", "annotation number 0: .*not 0 or 1"),
    ("annotations", "iscrowd", None, "annotation number 0: .*not 0 or 1"),
    (
      "annotations",
      "image_id",
      1.5,
      "annotation number 0: .*not a whole number",
    ),
    (
      "annotations",
      "image_id",
      True,
      "annotation number 0: .*not a whole number",
    ),
    (
      "categories",
      "name",
      None,
      "category number 0: .*name None is not a text",
    ),
    ("images", "id", 2, "the image id 2 occurs twice"),
    ("images", "width", 12.5, "image number 0: .*not a whole number"),
    ("annotations", "image_id", 9, "annotation 7: unknown image 9"),
    ("annotations", "category_id", 1, "annotation 7: .*category 1"),
  ],
)
def test_damaged_records_are_named(folder, table, field, value, match):
  path = folder / "annotations" / "instances_val2017.json"
  content = json.loads(path.read_text())
  content[table][0][field] = value
  if value is ...:
    del content[table][0][field]
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=rf"val2017\.json: {match}"):
    coco.read_instances(folder)


@pytest.mark.parametrize("content", [[], {"images": []}, "x", None])
def test_foreign_files_are_named(folder, content):
  path = folder / "annotations" / "instances_val2017.json"
  data_sets.write_json(path, content)
  with pytest.raises(ValueError, match="no object with images, categories"):
    coco.read_instances(folder)
