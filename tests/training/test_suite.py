"""Tasks of the evaluation suite run while training, on their own schedule."""

import types

import pytest

from hyperclip_jax.evals import catalog, runner
from hyperclip_jax.evals.tasks import MissingData, Task
from hyperclip_jax.training import log, runs, suite, train
from hyperclip_jax.training.options import Evals
from tests import small

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_tasks_run_every_so_often_and_at_the_end(tmp_path, monkeypatch, capsys):
  seen = []

  def measured(model, data):
    assert data == tmp_path
    seen.append(model.encode_text(["a red circle"])[0, 0])
    return {"top1": 0.25, "top1_se": 0.1, "images": 96.0, "bins": [1.0, 2.0]}

  def missing(model, data):
    raise MissingData("coco", "https://cocodataset.org", "coco/val2017/")

  tasks = (Task("shapes", measured, {}), Task("coco", missing, {}))
  monkeypatch.setattr(catalog, "TASKS", tasks)
  stopped = types.SimpleNamespace(perf_counter=lambda: 0.0)
  monkeypatch.setattr(runner, "time", stopped)  # a busy machine takes a second
  config = small.config("clip")
  config.evals.update(tasks="shapes,coco", data=str(tmp_path), every=4)
  workdir = tmp_path / "run"
  train.train(runs.prepare(config, workdir))
  rows = {
    row["step"]: row for row in log.read(workdir) if "evals/shapes/top1" in row
  }
  assert list(rows) == [4, 6]
  assert len({*seen}) == 2  # the model of each step
  names = {name for name in rows[6] if name.startswith("evals/")}
  assert names == {"evals/shapes/top1"}
  err = capsys.readouterr().err
  assert "step 4  shapes (0 s):  top1 0.250" in err
  assert "step 4  coco missing: needs coco/val2017/, from https://coco" in err
  train.train(runs.prepare(config, workdir))  # the end is not measured again
  assert len(seen) == 2


def test_the_schedule():
  evals = Evals(tasks="shapes", data="/data", every=4)
  due = [step for step in range(11) if suite.due(evals, step, 10)]
  assert due == [4, 8, 10]
  at_the_end = Evals(tasks="shapes", data="/data")
  assert [s for s in range(11) if suite.due(at_the_end, s, 10)] == [10]
  assert not suite.due(Evals(), 10, 10)


def test_what_cannot_run_is_refused_before_any_work(tmp_path):
  config = small.config("clip")
  config.evals.tasks = "imagnet"
  with pytest.raises(ValueError, match=r"config\.evals\.data must be the fold"):
    runs.prepare(config, tmp_path)
  config.evals.data = str(tmp_path / "none")
  with pytest.raises(
    ValueError, match=r"config\.evals\.tasks: no task imagnet; did you mean ima"
  ):
    runs.prepare(config, tmp_path)
  config.evals.tasks = "imagenet"
  with pytest.raises(FileNotFoundError, match=r"none: no such folder"):
    runs.prepare(config, tmp_path)
