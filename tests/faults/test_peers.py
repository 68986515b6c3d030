"""A peer that dies or stalls: the other ends in time, and the job goes on."""

import signal
import time

import pytest

from hyperclip_jax.checkpoints import checkpoint
from tests.faults import processes
from tests.faults.processes import Job

STALL = 15.0  # seconds


@pytest.fixture(scope="module")
def job(tmp_path_factory):
  folder = tmp_path_factory.mktemp("job")
  config = {
    "steps": 100_000,  # an end that no process comes to
    "log_every": 1,
    "checkpoint.every": 5,
    "stall_seconds": STALL,
  }
  return Job(folder / "data", folder / "cache", config, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_other_process_ends_with_its_stacks(number, job, tmp_path):
  workdir = tmp_path / "run"
  life = processes.start(job, workdir)
  first, second = life.processes
  try:
    said = processes.log(workdir)
    assert processes.wait_until(life, lambda: bool(checkpoint.steps(workdir)))
    # A collective fails in a save with another error than in a step.
    assert processes.wait_until(life, processes.is_saving(workdir))
    second.send_signal(number)
    begin = time.monotonic()
    assert first.wait(timeout=300) == 1, said.read_text()
    # The machine may be busy; without a fault this run takes for ever.
    assert time.monotonic() - begin < STALL + 60
  finally:
    for process in (first, second):
      process.kill()
      process.wait()
  assert "the stack of every thread is in" in said.read_text()
  stacks = processes.stacks(workdir, 0)
  assert "hyperclip_jax/training/train.py" in stacks
  assert stacks.count("hread 0x") >= 3
  # What two processes saved, one goes on from.
  state, meta = processes.state(workdir)
  assert int(state.step) == checkpoint.steps(workdir)[-1]
  assert meta["examples_seen"] == 16 * int(state.step)
