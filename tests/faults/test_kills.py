"""kill -9, for real: what a run has lost is made again, bit for bit."""

import random

import pytest

from hyperclip_jax.checkpoints import checkpoint
from tests.faults import processes
from tests.faults.processes import Job, kill_in_a_save, kill_in_a_step

STEPS = 80


@pytest.fixture(scope="module")
def job(tmp_path_factory):
  folder = tmp_path_factory.mktemp("job")
  # Logs and saves at steps that do not meet: a window is cut in two.
  config = {"steps": STEPS, "log_every": 2, "checkpoint.every": 5}
  return Job(folder / "data", folder / "cache", config, bad_every=13)


@pytest.fixture(scope="module")
def unbroken(job, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("unbroken") / "run"
  processes.run(job, workdir)
  return workdir


@pytest.mark.slow
def test_a_killed_run_is_the_unbroken_run(job, unbroken, tmp_path):
  """Final state and every logged number: the same seed gives the same bits.

  Bad numbers among the good are skipped alike, before and after a kill.
  `tests/faults/soak.py` does it for as long as one likes.
  """
  workdir = tmp_path / "run"
  job = job._replace(cache=tmp_path / "cache")  # compiled again
  lives = [(job, kill_in_a_step), (job, kill_in_a_save)]
  told = processes.run_with_faults(lives, workdir, random.Random(0), spread=0.2)
  assert len(told) == 2, told
  found, meta = processes.state(workdir)
  wanted, wanted_meta = processes.state(unbroken)
  assert int(found.step) == STEPS
  assert processes.same_bits(found, wanted)
  assert meta == wanted_meta
  assert processes.rows(workdir) == processes.rows(unbroken)
  found_rows = processes.rows(workdir)
  assert [r["step"] for r in found_rows] == list(range(2, STEPS + 1, 2))
  assert sum(r["skipped"] for r in found_rows) == STEPS // 13
  assert not any(checkpoint.verify(workdir).values())
