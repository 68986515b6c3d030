"""Signals end a process at any moment, with what it has on the disk."""

import os
import signal
import subprocess
import sys

import pytest

from hyperclip_jax.training import signals

STARTS = """
import sys, time
from hyperclip_jax import console
from hyperclip_jax.training import signals
console.outlive()
signals.listen(sys.argv)
try:
  print("listens", flush=True)
  time.sleep(60)
finally:
  print("cleared up", flush=True)
"""

# A lock that the main thread waits for in C, as in a compilation.
HELD_UP = """
import sys, threading
from hyperclip_jax.training import signals
signals.GRACE = 0.2
signals.listen(sys.argv)
lock = threading.Lock()
lock.acquire()
print("listens", flush=True)
while True:
  try:
    lock.acquire()
  except BaseException:
    pass
"""

# Python swallows what is raised in a callback of its own. Where that is
# the exit of the process, the process ends all the same.
CALLED_BACK = """
import gc, sys, time
from hyperclip_jax.training import signals
signals.listen(sys.argv)
def collected(phase, _):
  if phase == "start":
    print("listens", flush=True)
    for _ in range(30):
      time.sleep(0.02)
gc.callbacks.append(collected)
gc.collect()
time.sleep(60)
"""

TRAINS = """
import sys, time
from hyperclip_jax.training import signals
signals.listen(sys.argv)
with signals.saving() as asked:
  print("listens", flush=True)
  for step in range(600):
    if asked(step):
      print("saves", flush=True)
      time.sleep({seconds})
      break
    time.sleep(0.02)
print("saved", flush=True)
"""


def start(code, *args, **more):
  more = {"stderr": subprocess.PIPE} | more
  process = subprocess.Popen(
    [sys.executable, "-c", code, *args],
    env=os.environ | {"PYTHONPATH": os.getcwd()},
    stdout=subprocess.PIPE,
    text=True,
    **more,
  )
  assert process.stdout
  assert process.stdout.readline() == "listens\n"
  return process


@pytest.mark.parametrize("number", signals.NUMBERS)
@pytest.mark.parametrize("flag", [None, "--stopped_code=75"])
def test_outside_of_training_a_process_clears_up_and_ends(number, flag):
  process = start(STARTS, *filter(None, [flag]))
  process.send_signal(number)
  out, err = process.communicate(timeout=30)
  assert process.returncode == (75 if flag else 128 + number)
  assert out == "cleared up\n"
  assert (
    err == f"{number.name}: ended; run the same command again to continue\n"
  )


def test_a_process_whose_main_thread_is_held_up_ends():
  process = start(HELD_UP, "--stopped_code", "75")
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=30) == 75
  process.communicate()


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_process_in_a_callback_of_python_ends(number):
  process = start(CALLED_BACK)
  process.send_signal(number)
  _, err = process.communicate(timeout=5)  # sooner than GRACE
  assert process.returncode == 128 + number
  assert (
    err == f"{number.name}: ended; run the same command again to continue\n"
  )


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_loop_is_asked_to_save_and_a_signal_more_does_no_harm(number):
  process = start(TRAINS.format(seconds=0.5), "--stopped_code=75")
  process.send_signal(number)
  assert process.stdout.readline() == "saves\n"
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGHUP)
  out, err = process.communicate(timeout=30)
  assert (process.returncode, out) == (0, "saved\n")
  assert err == (
    f"{number.name}: saving after this step; Ctrl-C again ends at once\n"
  )


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(first):
  process = start(TRAINS.format(seconds=60))
  process.send_signal(first)
  assert process.stdout.readline() == "saves\n"
  process.send_signal(signal.SIGINT)
  out, err = process.communicate(timeout=30)
  assert (process.returncode, out) == (130, "")
  assert "SIGINT again: ended at once" in err


def test_a_hangup_that_is_ignored_stays_ignored():
  code = f"import signal; signal.signal(1, signal.SIG_IGN)\n{STARTS}"
  process = start(code.replace("sleep(60)", "sleep(1)"))
  process.send_signal(signal.SIGHUP)
  assert process.communicate(timeout=30) == ("cleared up\n", "")
  assert process.returncode == 0


def test_a_signal_after_the_last_question_is_not_lost():
  def train():
    with signals.saving() as asked:
      assert not asked(1)
      os.kill(os.getpid(), signal.SIGTERM)

  undo = signals.listen()
  try:
    with pytest.raises(SystemExit) as ended:
      train()
    assert ended.value.code == 143
  finally:
    undo()


def test_a_stop_without_a_reader_ends_with_its_code():
  reader, writer = os.pipe()
  os.close(reader)
  process = start(STARTS, "--stopped_code=75", stderr=writer)
  os.close(writer)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=30)
  assert process.returncode == 75


@pytest.mark.parametrize(
  ("argv", "code"),
  [
    (["main", "--stopped_code=75"], 75),
    (["main", "-stopped_code", "75", "--x"], 75),
    (["main", "--stopped_code=many"], None),
    (["main", "--config.stopped_code=75"], None),
    (["main"], None),
  ],
)
def test_the_code_is_read_from_the_command_line(argv, code):
  assert signals.stopped_code(argv) == code
