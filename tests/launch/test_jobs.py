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


def test_pairs():
  assert jobs.pairs(["a=b=c", "d=1"], "--flag") == {"a": "b=c", "d": "1"}
  for bad in ("a", "a=", "=a"):
    with pytest.raises(ValueError, match=r"--flag .* is not NAME=VALUE"):
      jobs.pairs([bad], "--flag")
