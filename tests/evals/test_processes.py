"""What several processes measure together, each on its share of the records."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

import hyperclip_jax
from hyperclip_jax.evals import encoding, held_out
from hyperclip_jax.training import config, runs
from tests.evals import saved

ROOT = pathlib.Path(__file__).parents[2]

# Prints the results and the images and texts that the process encoded.
EVALUATE = """
import collections, json, sys
import jax
address, process, workdir = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.evals import held_out
from hyperclip_jax.training import config, runs

counts = collections.Counter()

def counted(name):
  encode = getattr(HyperCLIP, name)
  def wrapped(self, items, lift=True):
    counts[name] += len(items)
    return encode(self, items, lift)
  setattr(HyperCLIP, name, wrapped)

counted("encode_image")
sample = runs.sample(config.read(workdir))
found = held_out.evaluate(hyperclip_jax.load(workdir), sample)
print(json.dumps([found.results, found.context, counts]))
"""


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_each_process_encodes_its_share(count, processes, monkeypatch):
  items = [str(i) for i in range(count)]
  given, shares = [], []

  def encode(some):
    given.append([*some])
    return np.array([[float(item)] for item in some], np.float32)

  def gather(rows, tiled):
    assert tiled
    shares.append(rows)
    assert len({len(share) for share in shares}) == 1  # or it would fail
    return np.concatenate(shares)

  monkeypatch.setattr(jax, "process_count", lambda: processes)
  monkeypatch.setattr(multihost_utils, "process_allgather", gather)
  for i in range(processes - 1):
    monkeypatch.setattr(jax, "process_index", lambda i=i: i)
    encoding.shared(encode, items)
  monkeypatch.setattr(jax, "process_index", lambda: processes - 1)
  found = encoding.shared(encode, items)
  np.testing.assert_array_equal(found[:, 0], np.arange(count))
  most = -(-count // processes)
  assert all(len(share) <= most for share in given)


@pytest.mark.slow
def test_two_processes_measure_as_one(tmp_path):
  """One process of eight devices, and two of one device each."""
  workdir = saved.model(tmp_path / "run")
  sample = runs.sample(config.read(workdir))
  wanted = held_out.evaluate(hyperclip_jax.load(workdir), sample)
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    address = f"localhost:{sock.getsockname()[1]}"
  environment = os.environ | {
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
  }
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", EVALUATE, address, str(i), str(workdir)],
      cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )
    for i in range(2)
  ]  # fmt: skip
  for process in processes:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    results, context, counts = json.loads(said.splitlines()[-1])
    # 24 rows of 48 are computed by another program, which rounds in its way.
    assert results == pytest.approx(wanted.results, rel=1e-5)
    assert context == pytest.approx(wanted.context, rel=1e-5, nan_ok=True)
    # The half of 48 scenes, as many boxes, and 96 objects.
    assert counts["encode_image"] == (48 + 48 + 96) // 2
