"""What launchers are asked for, and what they are not."""

import pytest

from launch import jobs

HOSTILE = "$(touch x) `id` \"; rm -rf ~ #'\n%j $HOME"


def test_one_job_as_it_is_asked_for():
  (job,) = jobs.make("a.py:clip", "runs/a/", [], ["--config.seed=3"])
  assert job == jobs.Job(
    "a", "runs/a", ("--config=a.py:clip", "--workdir=runs/a", "--config.seed=3")
  )


def test_a_sweep_has_a_folder_for_each_point():
  found = jobs.make("a.py", "runs/a", ["seed=0,1"], ["--config.steps=9"])
  assert [job.workdir for job in found] == ["runs/a/seed=0", "runs/a/seed=1"]
  assert [job.name for job in found] == ["a_seed=0", "a_seed=1"]
  assert found[1].args == (
    "--config=a.py",
    "--workdir=runs/a/seed=1",
    "--config.steps=9",
    "--config.seed=1",
  )


def test_a_hostile_value_stays_one_argument():
  overrides = [f"--config.data.shards={HOSTILE}"]
  (job,) = jobs.make("a.py", "a", [f"x.y={HOSTILE}"], overrides)
  assert job.args[2:] == (*overrides, f"--config.x.y={HOSTILE}")
  assert "/" not in job.workdir.removeprefix("a/")


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--proceses=2"], "unknown: --proceses=2"),
    (["stray"], "unknown: stray"),
    (["--config.seed", "3"], "written as --config.NAME=VALUE"),
    (["--config.seed=3", "--sweep=seed=1,2"], "seed is both set and swept"),
    (["--sweep=seed"], "not NAME=VALUE"),
    (["--workdir=."], "--workdir must name a folder"),
    (["--workdir=/"], "--workdir must name a folder"),
  ],
)
def test_what_no_launcher_takes(argv, message, capsys):
  with pytest.raises(SystemExit):
    jobs.parse(jobs.parser("x"), ["--config=a.py", "--workdir=a", *argv])
  assert message in capsys.readouterr().err


CONFIG = """
from hyperclip_jax.training.config import paper
def get_config(system="hycoclip"):
  return paper(system)
"""


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["--sweep=optim.lr=1,2"], "did you mean --config.optim.learning_rate?"),
    (["--sweep=steps=9,many"], "--config.steps: must be a whole number, found"),
    (["--sweep=seed=0,1", "--sweep=steps=9000,0"], "config.steps must be fin"),
    (["--sweep=optim=1,2"], "config.optim is a section"),
    (["--config.batchsize=1"], "did you mean --config.batch_size?"),
  ],
)
def test_a_mistyped_sweep_starts_nothing(argv, message, tmp_path, capsys):
  (tmp_path / "a.py").write_text(CONFIG)
  common = [f"--config={tmp_path / 'a.py'}", "--workdir=a"]
  with pytest.raises(SystemExit):
    jobs.parse(jobs.parser("x"), [*common, *argv])
  assert message in capsys.readouterr().err


def test_configs_by_name_are_checked_too():
  (job,) = jobs.make("grit_vits:meru", "runs/a", [], ["--config.seed=1"])
  assert job.args[0] == "--config=grit_vits:meru"
  with pytest.raises(ValueError, match=r"optim\.learning_rate"):
    jobs.make("grit_vits", "runs/a", ["optim.lr=1,2"], [])
  with pytest.raises(FileNotFoundError, match=r"did you mean grit_vits\?"):
    jobs.make("grit_vist", "runs/a", [], [])


def test_a_good_sweep_of_a_config_that_is_here(tmp_path):
  (tmp_path / "a.py").write_text(CONFIG)
  found = jobs.make(
    f"{tmp_path / 'a.py'}:clip",
    "runs/a",
    ["seed=0,1", "data.text_buckets=(16,77),77", "model.unroll=true,false"],
    ["--config.steps=9000"],
  )
  assert len(found) == 8


def test_a_workdir_at_home(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  flags = ["--config=none.py", "--workdir=~/runs/a"]
  options, (job,) = jobs.parse(jobs.parser("x"), flags)
  assert options.workdir == job.workdir == "/home/me/runs/a"


def test_pairs():
  assert jobs.pairs(["a=b=c", "d=1"], "--flag") == {"a": "b=c", "d": "1"}
  for bad in ("a", "a=", "=a"):
    with pytest.raises(ValueError, match=r"--flag .* is not NAME=VALUE"):
      jobs.pairs([bad], "--flag")


def test_a_config_that_only_the_job_can_read_is_not_checked(tmp_path):
  path = tmp_path / "a.py"
  path.write_text('import os\nos.environ["ONLY_THERE"]\n')
  (job,) = jobs.make(str(path), "runs/a", [], ["--config.batchsize=1"])
  assert job.args[-1] == "--config.batchsize=1"
