"""The whole command, with a small parser and a tiny random detector."""

import json

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.reports import data, review
from tests.data.ground import planted
from tests.data.ground.test_detectors import make_owl
from tests.data.ground.test_text import SMALL
from tests.data.tars import jpeg

pytest.importorskip(SMALL)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
  folder = tmp_path_factory.mktemp("command")
  (folder / "model").mkdir()
  make_owl(folder / "model", "owlv2")
  rows = ["image,caption"]
  for i in range(6):
    (folder / f"{i}.jpg").write_bytes(jpeg(i, 96, 128))
    rows.append(f"{i}.jpg,a dog in a field of flowers number <b>{i}")
  (folder / "pairs.csv").write_text("\n".join([*rows, "0.jpg,it is"]))
  flags = {
    "input": folder / "pairs.csv",
    "output": folder / "grounded",
    "detector": folder / "model",
    "spacy-model": SMALL,
    "threshold": 0,
    "min-side": 4,
    "review": 5,
    "jobs": 1,
  }
  door.run(["ground", *(f"--{name}={value}" for name, value in flags.items())])
  return folder


def test_the_command_writes_raw_grit(out):
  content = json.loads((out / "grounded/manifest.json").read_text())
  options = content["options"]
  assert options["detector"] == "model"
  assert options["parser"] == "core_web_sm 3.8.0"
  assert options["threshold"] == 0
  assert len(options["weights"]) == 32
  assert content["totals"]["records"] == 6
  assert content["totals"]["rejected_records"] == {
    "no phrase in the caption": 1
  }
  records = planted.records(str(out / "grounded"))
  assert {part.text for r in records for part in r.parts} <= {
    "a dog",
    "a field",
    "flowers",
    *(r.caption for r in records),
    *(r.caption[9:] for r in records),
    *(r.caption[20:] for r in records),
  }


def test_the_review_page_shows_boxes_and_only_its_own_script(out):
  page = (out / "grounded-review.html").read_text()
  assert page.count("data-score") == 5 + review.SCRIPT.count("data-score")
  assert page.count("<script>") == 1
  assert "script-src &#x27;sha256-" in page or "script-src 'sha256-" in page
  assert "number <b>" not in page


def test_the_report_of_a_grounded_folder_shows_scores(out, tmp_path):
  census = data.write_report(str(out / "grounded"), tmp_path / "page.html")
  page = (tmp_path / "page.html").read_text()
  assert sum(census.scores.values()) >= 6
  assert "Boxes above 95% of the image" in page
  assert "Histogram of scores" in page
  assert "hyperclip-grounded" not in page
  assert "spacy" not in page.lower() or "parser" in page
