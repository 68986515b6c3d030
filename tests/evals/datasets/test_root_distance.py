import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.evals import catalog
from hyperclip_jax.evals.datasets import root_distance
from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.evals.tasks import MissingData
from tests.data import tars
from tests.evals import pictures
from tests.evals.pictures import RED

TABLE = {"a red ball": (3, 0, 0), "a ball": (1, 0, 0)}


def run(make_model, data) -> Any:
  task = next(task for task in catalog.TASKS if task.name == "root_distance")
  return task.run(make_model(table=TABLE), data)


def record(key, parts=True, broken=False):
  """A prepared record: a dark picture whose left half is the red part."""
  pixels = np.full((40, 80, 3), 0, np.uint8)
  pixels[:, :40] = RED
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  part = {"text": "a ball", "box": [0.0, 0.0, 0.5, 1.0]}
  content = {
    "key": key,
    "caption": "a red ball",
    "width": 80,
    "height": 40,
    "parts": [part] if parts else [],
    "meta": {},
  }
  return [
    (f"{key}.jpg", b"broken" if broken else buffer.getvalue()),
    (f"{key}.parts.json", json.dumps(content).encode()),
  ]


def write(data, *records):
  (data / "grounded").mkdir()
  members = [member for rows in records for member in rows]
  tars.write_tar(data / "grounded" / "00000.tar", members)


def test_the_four_kinds_are_measured(make_model, tmp_path):
  write(
    tmp_path,
    record("0"),
    record("1", parts=False),
    record("2", broken=True),
    record("3"),
  )
  found = run(make_model, tmp_path)
  assert found["records"] == 2
  assert found["text_mean"] == pytest.approx(3, rel=1e-5)
  assert found["box_text_mean"] == pytest.approx(1, rel=1e-5)
  # The corner of the box is red, and so is that of the picture's centre.
  assert found["box_image_mean"] == pytest.approx(0.98, rel=0.01)
  for kind in norms.KINDS:
    assert f"{kind}_median" in found
    assert sum(found[f"{kind}_bins"]) == 2
  assert len(found["bin_edges"]) == norms.BINS + 1


def test_a_crop_of_its_own_is_the_box(make_model, tmp_path):
  dark = pictures.encoded((128, 0, 0))
  write(tmp_path, [*record("0"), ("0.part000.jpg", dark)])
  found = run(make_model, tmp_path)
  assert found["box_image_mean"] == pytest.approx(128 / 255, rel=0.01)
  assert found["image_mean"] == pytest.approx(0.98, rel=0.01)


def test_no_more_than_so_many_are_read(make_model, tmp_path, monkeypatch):
  monkeypatch.setattr(root_distance, "RECORDS", 3)
  monkeypatch.setattr(root_distance.encoding, "CHUNK", 2)
  write(tmp_path, *(record(str(i)) for i in range(9)))
  assert run(make_model, tmp_path)["records"] == 3


def test_what_is_missing_is_told(make_model, tmp_path):
  with pytest.raises(MissingData, match=r"grounded/\*\.tar: raw GRIT"):
    run(make_model, tmp_path)
  write(tmp_path, record("0", parts=False))
  with pytest.raises(ValueError, match="no record has a part"):
    run(make_model, tmp_path)


def test_a_bad_record_is_left_out_and_named(make_model, tmp_path):
  bad = [(name, b"x" if "jpg" in name else data) for name, data in record("1")]
  write(tmp_path, record("0"), bad)
  found = run(make_model, tmp_path)
  assert found["records"] == 1
  (name,) = found["left_out"]
  assert name.endswith("record '1'")
