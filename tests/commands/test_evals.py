"""The whole suite by one command, on an untrained model."""

import json

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.evals import catalog
from tests import small
from tests.data import tars
from tests.evals import pictures, saved
from tests.evals.datasets import test_captions
from tests.reports.reader import Reader, assert_self_contained


@pytest.mark.slow
def test_everything_that_is_there_is_run(tmp_path, capsys):
  model = saved.model(tmp_path / "model")
  data, output = tmp_path / "data", tmp_path / "out"
  data.mkdir()
  (data / "shapes").symlink_to(small.shapes_folder())
  (data / "grounded").mkdir()
  tars.write_tar(
    data / "grounded" / "00000.tar",
    [m for i in range(3) for m in tars.raw_members(f"00000{i}", i)],
  )
  test_captions.write_coco(data)
  pictures.write(data / "mnist" / "test" / "7" / "1.png", pictures.RED)
  flags = ["evals", f"--model={model}", f"--data={data}", f"--output={output}"]
  assert door.run(flags) == 0
  content = json.loads((output / "results.json").read_text())
  status = {task["name"]: task["status"] for task in content["tasks"]}
  assert list(status) == [task.name for task in catalog.TASKS]
  done = {name for name, value in status.items() if value == "done"}
  assert done == {"mnist", "coco", "root_distance", "shapes"}
  assert set(status.values()) == {"done", "missing"}
  by_name = {task["name"]: task for task in content["tasks"]}
  assert by_name["coco"]["paper"]["i2t_r5"]["HyCoCLIP B/16"] == 0.72
  assert by_name["root_distance"]["results"]["records"] == 3
  assert sum(by_name["root_distance"]["results"]["text_bins"]) == 3
  shapes = by_name["shapes"]["results"]
  assert 0 <= shapes["zero_shot/top1"] <= 1
  assert sum(shapes["root_distance/box_image_bins"]) == 48
  page = (output / "results.html").read_text()
  assert_self_contained(page)
  assert page.count("data:image/svg+xml") == 2
  rows = Reader(page).table
  assert len(rows["box texts"]) == 5  # Statistics have a table of their own,
  assert not any("median" in name for name in rows)  # and are told once.
  table = (output / "results.md").read_text()
  assert "bins" not in table
  assert "median" not in table
  assert "3 records" in Reader(page).text
  # The first R@5 is of coco, beside the paper's.
  (row, *_) = [r for r in Reader(page).rows if r[0] == "Image to text R@5"]
  assert row[-4:] == ["0.714", "0.723", "0.72", "0.695"]
  assert "imagenet/val/CLASS/*.jpg" in page
  printed = capsys.readouterr().out.splitlines()
  assert len(printed) == len(catalog.TASKS) + 2  # A line each; what is missing,
  assert "73 of 77 tasks lack their data" in printed[-2]  # and what is written.
  wanted = "imagenet: missing: needs imagenet/val/CLASS/*.jpg, from https://"
  assert any(line.startswith(wanted) for line in printed)
  # A part of it, from what is kept: no image is needed any more.
  (data / "mnist" / "test" / "7" / "1.png").unlink()
  assert door.run([*flags, "--tasks=mnist,shapes"]) == 0
  content = json.loads((output / "results.json").read_text())
  assert [task["name"] for task in content["tasks"]] == ["mnist", "shapes"]
  assert content["tasks"] == [by_name["mnist"], by_name["shapes"]]
