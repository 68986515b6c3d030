"""A run that stands still ends, and tells where it stood."""

import os
import subprocess
import sys
import time

from hyperclip_jax.watchdog import Watchdog

STALLS = """
import pathlib, sys, threading, time
from hyperclip_jax.watchdog import Watchdog

def stands_in_a_thread():
  time.sleep(600)

threading.Thread(target=stands_in_a_thread, daemon=True).start()
with Watchdog(pathlib.Path(sys.argv[1]), 1.0, 0.2) as watchdog:
  watchdog.stepped()
  watchdog.waits_for("batch")
  time.sleep(600)
"""


def run(script, tmp_path):
  return subprocess.run(
    [sys.executable, "-c", script, tmp_path],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_a_stalled_process_ends_with_all_stacks(tmp_path):
  done = run(STALLS, tmp_path)
  assert done.returncode == 1
  assert "the loader has stalled: a batch takes more than 0.2 s" in done.stderr
  assert done.stderr.count("has stalled") == 1
  assert "process 0 ends: no step for 1 s" in done.stderr
  assert "waiting for a batch; the stack of every thread" in done.stderr
  stacks = (tmp_path / "stacks/process-0.txt").read_text()
  assert "in stands_in_a_thread" in stacks
  assert 'File "<string>", line 12 in <module>' in stacks


FAILS = """
import pathlib, sys, jax
from hyperclip_jax.watchdog import Watchdog

jax.process_count = lambda: 2
with Watchdog(pathlib.Path(sys.argv[1]), 0.0, 1.0):
  raise OSError("no room")
"""


def test_one_of_several_that_fails_waits_for_no_other(tmp_path):
  """A peer that died in a save makes it an error of the save."""
  done = run(FAILS, tmp_path)
  assert done.returncode == 1
  assert "process 0 ends: no room; the stack of every thread" in done.stderr
  assert "Traceback" in done.stderr
  assert "thread 0x" in (tmp_path / "stacks/process-0.txt").read_text()


def test_a_run_that_goes_on_is_left_alone(tmp_path, caplog):
  with Watchdog(tmp_path, 2.0, 1.0) as watchdog:
    for _ in range(15):
      watchdog.waits_for("batch")
      time.sleep(0.2)
      watchdog.waits_for("step")
      watchdog.stepped()
  assert not caplog.records
  assert not list((tmp_path / "stacks").iterdir())


def test_zero_never_ends_a_run(tmp_path):
  with Watchdog(tmp_path, 0.0, 1.0) as watchdog:
    watchdog.stepped()
    time.sleep(1.5)
