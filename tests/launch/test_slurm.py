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
echo "$@" >> scontrol
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


def requeues():
  """What scontrol was asked to queue again."""
  lines = pathlib.Path("scontrol").read_text().splitlines()
  return [line for line in lines if line.startswith("requeue")]


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
  assert not requeues()


def test_the_script_enters_a_container(programs):
  programs("srun", SRUN.format(code=0))
  batch(HYPERCLIP_CONTAINER=HOSTILE)
  words = pathlib.Path("srun").read_text().split("\0")
  assert f"--container-image={HOSTILE}" in words


def test_a_container_sees_what_the_run_reads_and_writes(programs, tmp_path):
  programs("srun", SRUN.format(code=0))
  workdir = tmp_path / "scratch" / "vitb"
  batch(
    f"--workdir={workdir}",
    "--config.data.shards=/data/grit/*.tar,/more/{0..9}.tar",
    "--config.data.index_folder=/index/of grit",
    "--config.seed=1",
    HYPERCLIP_CONTAINER="image",
    HYPERCLIP_MOUNTS="/home/me/a b,/etc/x",
  )
  words = pathlib.Path("srun").read_text().split("\0")
  (mounts,) = (word for word in words if word.startswith("--container-mounts="))
  folders = [pair.split(":")[0] for pair in mounts.partition("=")[2].split(",")]
  assert folders == [
    str(tmp_path),
    str(workdir),
    "/data/grit",
    "/more",
    "/index",
    "/home/me/a b",
    "/etc/x",
  ]
  assert workdir.is_dir()


@pytest.mark.parametrize(
  ("time", "wanted"),
  [
    ("5", 300),
    ("5:30", 330),
    ("1:00:00", 3600),
    ("1-12", 129_600),
    ("1-0:30", 88_200),
    ("2-00:00:01", 172_801),
  ],
)
def test_times_as_slurm_writes_them(time, wanted):
  assert slurm.seconds(time) == wanted


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--time=00:02:00"], "must be at least 300 s"),
    (["--time=4", "--notice=120"], "must be at least 300 s"),
    (["--sbatch=time=1"], "must be at least 300 s"),
    (["--time=soon"], "found 'soon'"),
    (["--cpus=0"], "--cpus must be at least 1, found 0"),
    (["--restarts=-1"], "--restarts at least 0"),
    (["--mount=/data"], "--mount needs a --container"),
    (["--container=a", "--mount=data"], "absolute folder"),
  ],
)
def test_what_cannot_work_is_refused(flags, message, capsys):
  with pytest.raises(SystemExit):
    slurm.main(["--config=a.py", "--workdir=a", "--dry_run", *flags])
  assert message in capsys.readouterr().err


def test_flags_reach_the_script(capsys):
  slurm.main(
    [
      "--config=a.py", "--workdir=a", "--cpus=16", "--notice=60", "--time=10",
      "--restarts=3", "--container=i", "--mount=/a", "--mount=/b", "--dry_run",
    ]
  )  # fmt: skip
  words = shlex.split(capsys.readouterr().out)
  assert {
    "--cpus-per-task=16",
    "--signal=TERM@60",
    "--time=10",
    "HYPERCLIP_RESTARTS=3",
    "HYPERCLIP_MOUNTS=/a,/b",
  } <= set(words)


@pytest.mark.parametrize(
  ("code", "queued", "ends"),
  # 143 is SIGTERM that Python could not answer yet.
  [(0, False, 0), (jobs.STOPPED, True, 0), (143, True, 0), (1, False, 1)],
)
def test_only_a_run_that_was_stopped_is_queued_again(
  code, queued, ends, programs
):
  programs("srun", SRUN.format(code=code))
  programs("scontrol", SCONTROL)
  assert batch().returncode == ends
  assert requeues() == ["requeue 17"] * queued


def test_a_failed_run_is_queued_again_as_often_as_asked(programs):
  programs("srun", SRUN.format(code=137))  # killed, as out of memory
  programs("scontrol", SCONTROL)
  for restarts, ends in (("0", 137), ("2", 0), ("2", 0), ("2", 137)):
    done = batch("--workdir=a", HYPERCLIP_RESTARTS=restarts)
    assert done.returncode == ends, done.stderr
  assert requeues() == ["requeue 17"] * 2


def test_processes_meet_at_the_first_node_that_slurm_names(programs):
  programs("srun", '#!/bin/bash\necho "$JAX_COORDINATOR_ADDRESS" > address\n')
  programs(
    "scontrol",
    "#!/bin/bash\n"
    '[[ "$1 $2 $3" == "show hostnames r[1,3]c[02-04]" ]] && '
    "{ printf 'r1c02\\n'; sleep 0.1; printf 'r1c03\\n'; }\n",
  )
  batch(SLURM_JOB_NODELIST="r[1,3]c[02-04]")
  assert pathlib.Path("address").read_text() == "r1c02:61457\n"


@pytest.mark.parametrize(
  ("environ", "cpus"),
  [
    ({"SLURM_CPUS_PER_TASK": "12", "SLURM_CPUS_ON_NODE": "96"}, "12"),
    ({"SLURM_CPUS_ON_NODE": "96", "SLURM_NTASKS_PER_NODE": "8"}, "12"),
    ({"SLURM_CPUS_ON_NODE": "1", "SLURM_NTASKS_PER_NODE": "8"}, "1"),
    ({}, "1"),
  ],
)
def test_tasks_get_the_cpus_of_the_job(environ, cpus, programs):
  programs("srun", SRUN.format(code=0))
  batch(**environ)
  assert pathlib.Path("srun").read_text().split("\0")[0] == cpus


def test_the_script_hears_of_its_end_and_may_be_requeued():
  text = slurm.SCRIPT.read_text()
  assert "#SBATCH --signal=TERM@120\n" in text
  assert "#SBATCH --requeue\n" in text
