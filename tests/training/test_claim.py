"""One run at a time trains in a workdir, on whatever machine."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hyperclip_jax.training import claim

HOLDS = """
import pathlib, sys, time
from hyperclip_jax.training import claim
claim.BEAT = 0.1
claim.WATCH = 1.0
with claim.claimed(pathlib.Path(sys.argv[1])):
  print("holds", flush=True)
  time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(claim, "BEAT", 0.1)
  monkeypatch.setattr(claim, "WATCH", 0.6)


@pytest.fixture
def holder(tmp_path):
  """A process that holds a workdir."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDS, tmp_path],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout
  assert process.stdout.readline() == "holds\n"
  yield process
  process.kill()
  process.communicate()


def enter(workdir):
  with claim.claimed(workdir):
    pass


def test_another_process_of_this_machine_is_named(holder, tmp_path, capfd):
  host = os.uname().nodename
  with pytest.raises(
    OSError, match=rf"another process trains here: process {holder.pid} of "
  ) as error:
    enter(tmp_path)
  assert host in str(error.value)
  assert (tmp_path / claim.FILE).exists()
  holder.kill()
  holder.wait()
  enter(tmp_path)
  said = capfd.readouterr().err
  assert said.startswith(f"taking {tmp_path} over from process {holder.pid} of")
  assert not (tmp_path / claim.FILE).exists()


def foreign(workdir, host="elsewhere", pid=7):
  text = json.dumps({"host": host, "pid": pid, "started": "yesterday"})
  (workdir / claim.FILE).write_text(text)


def test_a_dead_process_of_another_machine_is_told_after_a_while(
  tmp_path, capfd
):
  foreign(tmp_path)
  begin = time.monotonic()
  enter(tmp_path)
  assert time.monotonic() - begin >= 0.6
  waits, takes = capfd.readouterr().err.splitlines()
  assert "was in use by process 7 of host elsewhere: waiting" in waits
  assert "over from process 7 of host elsewhere, which is gone" in takes


def test_a_live_process_of_another_machine_is_left_alone(
  holder, tmp_path, monkeypatch
):
  """Seen from a machine whose locks are its own, as on many networks."""
  monkeypatch.setattr(claim.files, "lock", lambda _: unlocked())
  with pytest.raises(OSError, match=f"trains here: process {holder.pid} of"):
    enter(tmp_path)
  assert holder.poll() is None
  holder.kill()
  holder.wait()
  enter(tmp_path)


class unlocked:
  def __enter__(self):
    return False

  def __exit__(self, *_):
    pass


def test_a_process_that_was_taken_for_dead_ends(holder, tmp_path):
  """It was suspended while another machine took its workdir over."""
  holder.send_signal(signal.SIGSTOP)
  foreign(tmp_path)
  holder.send_signal(signal.SIGCONT)
  assert holder.wait(timeout=30) == 1
  assert "process 7 of host elsewhere has taken" in holder.stderr.read()
  assert "elsewhere" in (tmp_path / claim.FILE).read_text()


@pytest.mark.parametrize("content", [b"", b"\0\0", b"[]", b"{", b'{"pid": []}'])
def test_a_damaged_claim_is_watched_and_then_taken_over(content, tmp_path):
  (tmp_path / claim.FILE).write_bytes(content)
  enter(tmp_path)
  assert not (tmp_path / claim.FILE).exists()


def test_a_workdir_is_free_after_an_error(tmp_path):
  def fails():
    with claim.claimed(tmp_path):
      assert (tmp_path / claim.FILE).exists()
      raise KeyError

  with pytest.raises(KeyError):
    fails()
  enter(tmp_path)
