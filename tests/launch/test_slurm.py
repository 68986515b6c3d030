"""What goes to SLURM, and what the batch script does there."""

import os
import pathlib
import shlex
import subprocess

import pytest

from launch import jobs, slurm
from tests.launch.test_jobs import HOSTILE

JOB = jobs.Job("vitb", "runs/vitb", ("--config=a.py", f"--config.x={HOSTILE}"))
SRUN = """#!/bin/bash
printf '%s\\0' "$SRUN_CPUS_PER_TASK" "$@" > srun
exit {code}
"""
SCONTROL = """#!/bin/bash
echo "$@" > scontrol
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
  """A folder that is first where commands are looked for, and is entered."""

  def add(name, text):
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)

  monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
  monkeypatch.chdir(tmp_path)
  return add


def batch(*args, **environ):
  """What the batch script says, run as SLURM would."""
  return subprocess.run(
    ["bash", str(slurm.SCRIPT), *args],
    env=os.environ
    | {"SLURM_SUBMIT_DIR": os.getcwd(), "SLURM_JOB_ID": "17"}
    | environ,
    capture_output=True,
    text=True,
  )


def test_one_task_a_gpu():
  more = {"time": "1:00:00", "partition": None, "account": "me"}
  line = slurm.command(JOB, 4, 8, more)
  assert line == [
    "sbatch",
    "--job-name=vitb",
    "--output=runs/vitb/slurm-%j.out",
    "--nodes=4",
    "--ntasks-per-node=8",
    "--gpus-per-node=8",
    "--time=1:00:00",
    "--account=me",
    str(slurm.SCRIPT),
    *JOB.args,
  ]


def test_one_task_a_node_without_gpus():
  line = slurm.command(JOB, 2, 0, {})
  assert "--ntasks-per-node=1" in line
  assert not [arg for arg in line if arg.startswith("--gpus")]


def test_a_workdir_is_no_pattern():
  line = slurm.command(jobs.Job("a", "100%j", ()), 1, 1, {})
  assert "--output=100%%j/slurm-%j.out" in line


def test_dry_run_prints_what_a_shell_would_run(capsys):
  slurm.main(
    [
      "--config=a.py", "--workdir=a", "--sweep=seed=0,1", "--sbatch=qos=high",
      f"--container={HOSTILE}", f"--config.x={HOSTILE}", "--dry_run",
    ]
  )  # fmt: skip
  words = shlex.split(capsys.readouterr().out)
  assert words.count("sbatch") == 2
  assert words.count("--qos=high") == 2
  assert words.count(f"HYPERCLIP_CONTAINER={HOSTILE}") == 2
  assert words.count(f"--config.x={HOSTILE}") == 2
  assert "--workdir=a/seed=1" in words
  assert not pathlib.Path("a").exists()


def test_submitting(programs, monkeypatch):
  programs("sbatch", '#!/bin/bash\nprintf "%s\\0" "$@" >> sbatch\nexit $CODE\n')
  flags = ["--config=a.py", "--workdir=a", "--sweep=seed=0,1"]
  monkeypatch.setenv("CODE", "0")
  assert slurm.main([*flags, f"--config.x={HOSTILE}"]) == 0
  words = pathlib.Path("sbatch").read_text().split("\0")
  assert words.count(f"--config.x={HOSTILE}") == 2
  assert pathlib.Path("a/seed=1").is_dir()
  monkeypatch.setenv("CODE", "5")
  assert slurm.main(flags) == 5


def test_there_is_no_sbatch(monkeypatch, tmp_path, capsys):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(SystemExit):
    slurm.main(["--config=a.py", f"--workdir={tmp_path / 'a'}"])
  assert "there is no sbatch here" in capsys.readouterr().err


def test_the_script_runs_main_in_every_task(programs):
  programs("srun", SRUN.format(code=0))
  programs("scontrol", SCONTROL)
  done = batch(*JOB.args, SLURM_CPUS_PER_TASK="12")
  assert done.returncode == 0, done.stderr
  cpus, *words = pathlib.Path("srun").read_text().split("\0")[:-1]
  main = words.index("hyperclip_jax.main")
  assert cpus == "12"
  assert words[main - 3 : main] == ["python", "-u", "-m"]
  assert words[main + 1 :] == [
    "--coordinator=auto",
    f"--stopped_code={jobs.STOPPED}",
    *JOB.args,
  ]
  assert not pathlib.Path("scontrol").exists()


def test_the_script_enters_a_container(programs):
  programs("srun", SRUN.format(code=0))
  batch(HYPERCLIP_CONTAINER=HOSTILE)
  words = pathlib.Path("srun").read_text().split("\0")
  assert f"--container-image={HOSTILE}" in words


@pytest.mark.parametrize(
  ("code", "queued", "ends"),
  [(0, False, 0), (jobs.STOPPED, True, 0), (1, False, 1)],
)
def test_only_a_run_that_was_stopped_is_queued_again(
  code, queued, ends, programs
):
  programs("srun", SRUN.format(code=code))
  programs("scontrol", SCONTROL)
  assert batch().returncode == ends
  assert pathlib.Path("scontrol").exists() == queued
  if queued:
    assert pathlib.Path("scontrol").read_text() == "requeue 17\n"


def test_the_script_hears_of_its_end_and_may_be_requeued():
  text = slurm.SCRIPT.read_text()
  assert "#SBATCH --signal=TERM@120\n" in text
  assert "#SBATCH --requeue\n" in text
