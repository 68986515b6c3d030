"""Processes on this machine: started, ended, started again."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from hyperclip_jax.training import log
from launch import jobs, local
from tests import small
from tests.launch.test_jobs import HOSTILE
from tests.test_main import ROOT, environment

JOB = jobs.Job("a", "a", ("--config=a.py", f"--config.x={HOSTILE}"))
WAIT = "time.sleep(100)"

# Process 1 of the first attempt dies once there is a checkpoint.
MORTAL = """
import os, pathlib, signal, threading, time
from tests import small
small.shapes_folder = lambda: {folder!r}
def die():
  while not pathlib.Path({workdir!r}, "checkpoints/2").exists():
    time.sleep(0.01)
  os.kill(os.getpid(), signal.SIGKILL)
def get_config():
  born = pathlib.Path({born!r})
  if os.environ["JAX_PROCESS_ID"] == "1" and not born.exists():
    born.touch()
    threading.Thread(target=die, daemon=True).start()
  config = small.config("clip", steps=12)
  config.model.vision.depth = config.model.text.depth = 1
  return config
"""


def touch(path):
  return f"pathlib.Path({str(path)!r}).touch()"


def wait_for(path):
  return f"while not pathlib.Path({str(path)!r}).exists(): time.sleep(0.05)"


def run(scripts, grace=30.0, signals=None):
  """Runs a Python script for each environment."""
  imports = "import os, pathlib, signal, sys, time"
  argv = [sys.executable, "-c", f"{imports}; exec(os.environ['SCRIPT'])"]
  added = [{"SCRIPT": script} for script in scripts]
  return local.run(argv, added, grace, [] if signals is None else signals)


def test_what_would_run_is_what_a_shell_runs(capsys):
  code = local.main(
    [
      "--config=a.py", "--workdir=runs/a", "--processes=2", "--gpus=2",
      "--sweep=seed=0,1", f"--config.x={HOSTILE}", "--dry_run",
    ]
  )  # fmt: skip
  lines = shlex.split(capsys.readouterr().out)
  assert code == 0
  assert lines.count("hyperclip_jax.main") == 4
  assert lines.count(f"--config.x={HOSTILE}") == 4
  assert lines.count("--coordinator=auto") == 4
  assert lines.count("--workdir=runs/a/seed=1") == 2
  assert lines.count("JAX_NUM_PROCESSES=2") == 4
  assert lines.count("JAX_PROCESS_ID=1") == 2
  assert lines.count("CUDA_VISIBLE_DEVICES=2,3") == 2


def test_one_process_meets_nobody():
  assert local.command(JOB, 1)[1:] == ["-m", "hyperclip_jax.main", *JOB.args]
  assert local.environments(1, 1, 0, {}) == [{}]


def test_each_process_has_its_gpus():
  given = {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
  first, second = local.environments(2, 80, 2, given)
  assert first["CUDA_VISIBLE_DEVICES"] == "4,5"
  assert second["CUDA_VISIBLE_DEVICES"] == "6,7"
  assert second["JAX_COORDINATOR_ADDRESS"] == "localhost:80"
  with pytest.raises(ValueError, match="need 6, CUDA_VISIBLE_DEVICES has 4"):
    local.environments(3, 80, 2, given)


@pytest.mark.parametrize(
  ("gpus", "environ", "message"),
  [
    (2, {}, "4 processes with 2 GPUs each need 8, this machine has 0"),
    (-1, {}, "--gpus must be at least 0, found -1"),
    (1, {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES has 0"),
    (1, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES has 0"),
    (1, {"CUDA_VISIBLE_DEVICES": "0,1,-1,2"}, "CUDA_VISIBLE_DEVICES has 2"),
    (1, {"CUDA_VISIBLE_DEVICES": "0,1,2,2"}, "lists a GPU twice"),
  ],
)
def test_gpus_that_are_not_there(gpus, environ, message, monkeypatch):
  monkeypatch.setenv("PATH", "/nonexistent")  # without nvidia-smi
  with pytest.raises(ValueError, match=message):
    local.environments(4, 80, gpus, environ)


def test_gpus_are_counted_and_their_list_may_hold_blanks(monkeypatch, tmp_path):
  script = tmp_path / "nvidia-smi"
  script.write_text(
    "#!/bin/sh\necho 'GPU 0: A'\necho '  MIG 1g'\necho 'GPU 1: A'"
  )
  script.chmod(0o755)
  monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
  found = local.environments(2, 80, 1, {})
  assert [e["CUDA_VISIBLE_DEVICES"] for e in found] == ["0", "1"]
  given = {"CUDA_VISIBLE_DEVICES": " GPU-7, 1 "}
  found = local.environments(2, 80, 1, given)
  assert [e["CUDA_VISIBLE_DEVICES"] for e in found] == ["GPU-7", "1"]


def test_the_others_end_when_one_fails():
  begin = time.monotonic()
  assert run([WAIT, "raise SystemExit(7)", WAIT], grace=80) == (7, False)
  assert time.monotonic() - begin < 60  # none needed more than SIGTERM


def test_who_does_not_hear_sigterm_is_killed(tmp_path):
  ready = tmp_path / "ready"
  deaf = f"signal.signal(15, signal.SIG_IGN); {touch(ready)}; time.sleep(100)"
  killed = f"{wait_for(ready)}\nos.kill(os.getpid(), 9)"
  begin = time.monotonic()
  assert run([deaf, killed], grace=1) == (137, False)
  assert 1 < time.monotonic() - begin < 60


def test_a_signal_goes_to_all_and_is_no_failure(tmp_path):
  ready = [tmp_path / "0", tmp_path / "1"]
  scripts = [
    f"signal.signal(2, lambda *_: sys.exit(0)); {touch(path)}; time.sleep(100)"
    for path in ready
  ]
  signals: list[int] = []

  def stop():
    while not all(path.exists() for path in ready):
      time.sleep(0.05)
    signals.append(signal.SIGINT)

  threading.Thread(target=stop, daemon=True).start()
  assert run(scripts, signals=signals) == (0, True)


def test_failures_are_counted(tmp_path, monkeypatch, capfd):
  log = tmp_path / "log"
  script = f"open({str(log)!r}, 'a').write('x'); raise SystemExit(3)"
  argv = [sys.executable, "-c", script]
  monkeypatch.setattr(local, "command", lambda job, processes: argv)
  common = ["--config=a.py", "--workdir=a", "--restarts=2"]
  assert local.main(common) == 3
  assert log.read_text() == "xxx"
  assert "a failed with exit code 3: giving up" in capfd.readouterr().err
  log.unlink()
  assert (
    local.main([*common, "--sweep=seed=0,1"]) == 3
  )  # each point has its own
  assert log.read_text() == "xxxxxx"


def test_a_launcher_that_is_stopped_starts_nothing_again(tmp_path):
  """The run, in place of hyperclip_jax.main, ends by the signal itself."""
  (tmp_path / "hyperclip_jax").mkdir()
  (tmp_path / "hyperclip_jax/__init__.py").touch()
  main = tmp_path / "hyperclip_jax/main.py"
  main.write_text("import time\nprint('up', flush=True)\ntime.sleep(100)\n")
  process = subprocess.Popen(
    [sys.executable, "-m", "launch.local", "--config=a.py", "--workdir=a"],
    cwd=tmp_path, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip
  assert process.stdout is not None
  assert process.stdout.readline() == "up\n"
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGTERM
  assert "failed" not in errors


@pytest.mark.slow
def test_a_killed_process_does_not_end_the_run(tmp_path):
  workdir, config = tmp_path / "run", tmp_path / "mortal.py"
  config.write_text(
    MORTAL.format(
      folder=small.shapes_folder(),
      workdir=str(workdir),
      born=str(tmp_path / "born"),
    )
  )
  cheap = {
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
  }
  done = subprocess.run(
    [
      sys.executable, "-m", "launch.local", f"--config={config}",
      f"--workdir={workdir}", "--processes=2", "--restarts=1", "--grace=1",
    ],
    cwd=ROOT, env=environment() | cheap, capture_output=True, text=True,
    timeout=500,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert re.search(
    r"run failed with .*: starting it again, 1 left", done.stderr
  )
  assert "resumed from step" in done.stderr
  assert log.read(workdir)[-1]["step"] == 12
  assert pathlib.Path(workdir, "report.html").exists()
