"""A run that stands still ends, and tells where it stood."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from hyperclip_jax.training import watchdog
from hyperclip_jax.training.watchdog import Watchdog

STALLS = """
import pathlib, sys, threading, time
from hyperclip_jax.training.watchdog import Watchdog

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
  (path,) = (tmp_path / "stacks").iterdir()
  assert str(path) in done.stderr
  stacks = path.read_text()
  assert "in stands_in_a_thread" in stacks
  assert 'File "<string>", line 12 in <module>' in stacks


FAILS = """
import pathlib, sys, jax
from hyperclip_jax.training.watchdog import Watchdog

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
  (path,) = (tmp_path / "stacks").iterdir()
  assert "thread 0x" in path.read_text()


def test_a_run_that_goes_on_is_left_alone(tmp_path, caplog):
  with Watchdog(tmp_path, 2.0, 1.0) as watchdog:
    for _ in range(15):
      watchdog.waits_for("batch")
      time.sleep(0.2)
      watchdog.waits_for("step")
      watchdog.stepped()
  assert not caplog.records
  assert not list((tmp_path / "stacks").iterdir())


@pytest.mark.parametrize(("stall", "ends"), [(0.0, False), (0.1, True)])
def test_zero_never_ends_a_run(tmp_path, monkeypatch, stall, ends):
  reasons = []
  monkeypatch.setattr(
    Watchdog, "_end", lambda _, reason: reasons.append(reason)
  )
  with Watchdog(tmp_path, stall, 0.2) as dog:
    dog.stepped()
    time.sleep(0.6)
    assert dog._now > 0.1
  assert bool(reasons) == ends


def test_what_the_process_was_suspended_for_is_no_stall(tmp_path, monkeypatch):
  """The clock jumps by an hour while nothing runs."""
  clock = FakeTime()
  monkeypatch.setattr(watchdog, "time", clock)
  with Watchdog(tmp_path, 2.0, 1.0) as dog:
    dog.stepped()
    dog.waits_for("batch")
    time.sleep(0.6)
    clock.jump = 3_600.0
    time.sleep(0.6)
    assert dog._now < 2.0
  assert not list((tmp_path / "stacks").iterdir())


class FakeTime:
  """The real clock, and what it jumped by."""

  jump = 0.0
  strftime = staticmethod(time.strftime)

  def monotonic(self):
    return time.monotonic() + self.jump


@pytest.mark.parametrize("script", [STALLS, FAILS])
@pytest.mark.parametrize("stderr", ["broken", "full", "closed", "stuck"])
def test_a_process_ends_whatever_becomes_of_its_last_words(
  script, stderr, tmp_path
):
  reader, writer = os.pipe()
  if stderr == "broken":
    os.close(reader)
  if stderr == "stuck":
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
      while True:
        os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
  if stderr == "full":
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer)
  shell = 'exec "$0" "$@"' + (" 2>&-" if stderr == "closed" else "")
  done = subprocess.Popen(
    ["/bin/sh", "-c", shell, sys.executable, "-c", script, tmp_path],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    stderr=writer,
  )
  os.close(writer)
  assert done.wait(timeout=100) == 1
  (path,) = (tmp_path / "stacks").iterdir()
  assert "hread 0x" in path.read_text()


def test_stacks_outlive_the_next_starts(tmp_path, monkeypatch):
  folder = tmp_path / "stacks"
  folder.mkdir()
  names = [f"process-0.20260101-0000{i:02}.7.txt" for i in range(15)]
  for name in names:
    (folder / name).write_text("in stands_still")
  (folder / "process-0.20260102-000000.8.txt").touch()  # it was killed
  (folder / "process-1.20260102-000000.8.txt").touch()  # another's
  with Watchdog(tmp_path, 0.0, 1.0):
    pass
  assert sorted(path.name for path in folder.iterdir()) == [
    *names[-watchdog.KEEP :],
    "process-1.20260102-000000.8.txt",
  ]


def dies():
  raise OSError("no room for this")


def test_a_thread_that_dies_ends_the_run(tmp_path):
  dog = Watchdog(tmp_path, 0.0, 1.0)

  def train():
    with dog:
      dog.stepped()
      thread = threading.Thread(target=dies, name="writer")
      thread.start()
      thread.join()
      dog.stepped()

  with pytest.raises(
    watchdog.DeadThreadError,
    match="thread writer died of OSError: no room for this",
  ):
    train()
  (path,) = (tmp_path / "stacks").iterdir()
  assert "in dies" in path.read_text()
  assert threading.excepthook is not dog._thread_died


WAITS_FOR_A_DEAD_THREAD = """
import pathlib, queue, sys, threading
from hyperclip_jax.training import watchdog

watchdog.LEAVE = 0.5

def writes():
  raise OSError("no room for this")

with watchdog.Watchdog(pathlib.Path(sys.argv[1]), 0.0, 1.0):
  threading.Thread(target=writes, name="writer").start()
  queue.Queue().get()
"""


def test_a_run_that_waits_for_a_dead_thread_ends(tmp_path):
  done = run(WAITS_FOR_A_DEAD_THREAD, tmp_path)
  assert done.returncode == 1
  assert "Traceback" not in done.stderr
  assert done.stderr.count("\n") == 1
  assert "thread writer died of OSError: no room for this" in done.stderr
