import json
import math
import sys

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.evals import catalog, runner
from hyperclip_jax.evals.tasks import MissingData, Task
from tests.evals import saved
from tests.reports.reader import Reader, assert_self_contained

PAPER = {"top1": {"HyCoCLIP B/16": 0.458}}


class Counted:
  """A task that counts how often it ran, and fails as it is told."""

  def __init__(self, results=None, error=None):
    self.runs = 0
    self.results, self.error = results, error

  def __call__(self, model, data):
    self.runs += 1
    if self.error:
      raise self.error
    return self.results or {"top1": 0.5, "nan": math.nan}


@pytest.fixture
def outcomes(make_model, tmp_path):
  """outcomes(tasks, digest) -> list of outcomes."""

  def run(tasks, digest="a", data=tmp_path):
    output = tmp_path / "out"
    return [*runner.run(make_model(), tasks, data, output, digest)]

  return run


def test_a_result_is_kept_and_counts_while_nothing_changed(outcomes, tmp_path):
  count = Counted()
  task = Task("one", count, PAPER)
  first = outcomes([task])[0]
  again = outcomes([task])[0]
  assert count.runs == 1
  assert again.results["top1"] == first.results["top1"] == 0.5
  assert math.isnan(again.results["nan"])
  outcomes([task], digest="b")
  assert count.runs == 2
  outcomes([task._replace(version=2)], digest="b")
  assert count.runs == 3
  other = tmp_path / "other"
  other.mkdir()
  outcomes([task._replace(version=2)], digest="b", data=other)
  assert count.runs == 4
  (tmp_path / "out" / "tasks" / "one.json").write_text('{"half')
  outcomes([task], digest="b", data=other)
  assert count.runs == 5


def test_a_killed_run_goes_on(outcomes):
  done, killed = Counted(), Counted(error=KeyboardInterrupt())
  tasks = [Task("done", done, {}), Task("killed", killed, {})]
  with pytest.raises(KeyboardInterrupt):
    outcomes(tasks)
  killed.error = None
  assert [o.status for o in outcomes(tasks)] == ["done", "done"]
  assert (done.runs, killed.runs) == (1, 2)


def test_a_problem_of_one_task_does_not_stop_the_rest(outcomes):
  missing = MissingData("coco", "https://cocodataset.org", "coco/val2017/")
  tasks = [
    Task("coco", Counted(error=missing), {}),
    Task("broken", Counted(error=ValueError("a.jpg: no image")), {}),
    Task("fine", Counted(), {}),
  ]
  found = outcomes(tasks)
  assert [o.status for o in found] == ["missing", "failed", "done"]
  assert "https://cocodataset.org" in found[0].message
  assert "coco/val2017/" in found[0].message
  assert found[0].brief == "needs coco/val2017/, from https://cocodataset.org"
  assert found[1].message == "a.jpg: no image"
  # What is missing is looked for again.
  tasks[0].run.error = None
  assert outcomes(tasks)[0].status == "done"


def test_a_surprise_does_not_stop_the_rest(outcomes, caplog):
  tasks = [
    Task("odd", Counted(error=KeyError("label")), {}),
    Task("fine", Counted(), {}),
  ]
  found = outcomes(tasks)
  assert [o.status for o in found] == ["failed", "done"]
  assert found[0].message.startswith("KeyError: 'label'; see the log")
  assert "Traceback" in caplog.text


def call(tmp_path, *flags):
  """The exit code; the results are in tmp_path/out."""
  output = f"--output={tmp_path / 'out'}"
  return door.run(["evals", f"--data={tmp_path}", output, *flags])


def test_the_command_writes_all_and_escapes(monkeypatch, tmp_path, capsys):
  evil = "<script>alert(1)</script>|`x`"
  missing = MissingData("coco", "https://cocodataset.org", evil)
  tasks = (
    Task("imagenet", Counted({"top1": 0.25}), PAPER),
    Task("coco", Counted(error=missing), {}),
  )
  monkeypatch.setattr(catalog, "TASKS", tasks)
  folder = saved.model(tmp_path / "<b>model|*")
  assert call(tmp_path, f"--model={folder}") == 0
  output = tmp_path / "out"
  content = json.loads((output / "results.json").read_text())
  assert content["system"] == "hycoclip"
  assert [t["status"] for t in content["tasks"]] == ["done", "missing"]
  assert content["tasks"][0]["results"] == {"top1": 0.25}
  assert content["tasks"][0]["paper"] == PAPER
  page = (output / "results.html").read_text()
  assert_self_contained(page)
  assert Reader(page).table["Top-1 accuracy"] == ["0.250", "0.458"]
  assert evil in Reader(page).text
  table = (output / "results.md").read_text()
  assert "| Top-1 accuracy | 0.250 |  | 0.458 |" in table
  assert "MERU" not in table + page  # It has no number in either.
  assert "\\|\\*" in table.splitlines()[0]
  assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\`x\\`" in table
  assert "imagenet: top1 0.250" in capsys.readouterr().out


def test_models_stand_side_by_side(monkeypatch, tmp_path, capsys):
  (tmp_path / "b").mkdir()
  first, second = (saved.model(tmp_path / name) for name in ("one", "b/<two>"))
  values = iter([0.25, 0.5])

  def top1(model, data):
    return {"top1": next(values)}

  missing = MissingData("coco", "https://cocodataset.org", "coco/val2017/")
  tasks = (
    Task("imagenet", top1, PAPER),
    Task("coco", Counted(error=missing), {}),
  )
  monkeypatch.setattr(catalog, "TASKS", tasks)
  # Both are the same model, but each has its results in a folder of its own.
  flags = (f"--model={first}", f"--model={second}")
  assert call(tmp_path, *flags) == 0
  output = tmp_path / "out"
  content = json.loads((output / "results.json").read_text())["models"]
  found = {
    name: model["tasks"][0]["results"] for name, model in content.items()
  }
  assert found == {"one": {"top1": 0.25}, "<two>": {"top1": 0.5}}
  page = Reader((output / "results.html").read_text())
  assert page.table["Top-1 accuracy"] == ["0.250", "0.500", "0.458"]
  assert ("b", "0.500") in page.marked
  assert page.text.count("https://cocodataset.org") == 2  # once, and how
  assert (
    "| Top-1 accuracy | 0.250 | **0.500** |"
    in (output / "results.md").read_text()
  )
  assert "one:\nimagenet: top1 0.250" in capsys.readouterr().out
  assert (output / "one/results.html").exists()
  assert (output / "two/results.html").exists()
  assert call(tmp_path, *flags) == 0  # from what is kept
  with pytest.raises(SystemExit, match="a model is given twice"):
    call(tmp_path, flags[0], flags[0])


def test_a_failed_task_makes_exit_code_1(monkeypatch, tmp_path):
  broken = Task("broken", Counted(error=ValueError("no image")), {})
  monkeypatch.setattr(catalog, "TASKS", (broken, Task("ok", Counted(), {})))
  folder = saved.model(tmp_path / "model")
  assert call(tmp_path, f"--model={folder}", "--tasks=broken,ok") == 1
  content = json.loads((tmp_path / "out" / "results.json").read_text())
  assert content["tasks"][1]["results"]["nan"] is None


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--tasks=one,zzz",), "no task zzz; there are\n  all, one"),
    (("--tasks=onne",), "no task onne; did you mean one? There are\n  all, "),
    (("--tasks=,",), "no task ','"),
    (("--data=/none",), "--data=/none: no such folder"),
    ((), "model.json"),
    (("--model=hf-hub:org/name",), r"hyperclip-jax[hub]"),
  ],
)
def test_bad_flags_end_before_any_work(monkeypatch, tmp_path, flags, message):
  count = Counted()
  monkeypatch.setattr(catalog, "TASKS", (Task("one", count, {}),))
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  model = [f"--model={tmp_path}/none"] * ("--model" not in str(flags))
  with pytest.raises(SystemExit) as stop:
    call(tmp_path, *flags, *model)
  assert str(stop.value.code).startswith("error: ")
  assert message in str(stop.value.code)
  assert not (tmp_path / "out").exists()
  assert count.runs == 0


def test_what_was_left_out_is_counted_and_named(monkeypatch, tmp_path, capsys):
  left_out = {f"/data/{i}.jpg": "cannot decode" for i in range(30)}
  evil = {"/data/\x1b[2J\u202e.jpg": "<b>"}
  results = {"top1": 0.5, "images": 70.0, "left_out": evil | left_out}
  tasks = (Task("imagenet", Counted(results), {}),)
  monkeypatch.setattr(catalog, "TASKS", tasks)
  folder = saved.model(tmp_path / "model")
  for _ in range(2):  # The second time from what is kept.
    assert call(tmp_path, f"--model={folder}") == 0
    output = tmp_path / "out"
    assert "top1 0.500  left out 31" in capsys.readouterr().out
    content = json.loads((output / "results.json").read_text())
    assert content["tasks"][0]["results"] == results
  for name in ("results.html", "results.md"):
    text = (output / name).read_text()
    assert "cannot decode" in text
    assert "and 11 more" in text
    assert "\x1b" not in text
    assert "\\x1b[2J\\u202e.jpg: &lt;b&gt;" in text.replace(
      "\\\\", "\\"
    ).replace("\\[", "[")
  assert (
    "70 images, 31 left out"
    in Reader((output / "results.html").read_text()).text
  )


def test_a_message_cannot_steer_the_terminal(monkeypatch, tmp_path, capsys):
  broken = Task("broken", Counted(error=ValueError("a\x1b]52;c\nb" * 999)), {})
  monkeypatch.setattr(catalog, "TASKS", (broken,))
  folder = saved.model(tmp_path / "model")
  assert call(tmp_path, f"--model={folder}") == 1
  printed = capsys.readouterr().out
  assert "\x1b" not in printed
  assert len(printed) < 2000
