"""What several processes measure together, each on its share of the records."""

import concurrent.futures
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

import hyperclip_jax
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.evals import encoding, held_out, processes, runner
from hyperclip_jax.evals.tasks import MissingData, Task
from hyperclip_jax.training import config, sources
from tests.evals import pictures, saved

ROOT = pathlib.Path(__file__).parents[2]

ENVIRONMENT = os.environ | {
  "PYTHONPATH": str(ROOT),
  "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
  "JAX_NUMPY_RANK_PROMOTION": "allow",
  "JAX_NUMPY_DTYPE_PROMOTION": "standard",
}

# Prints the results and the images and texts that the process encoded.
EVALUATE = """
import collections, json, sys
import jax
address, process, workdir = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.evals import held_out
from hyperclip_jax.training import config, sources

counts = collections.Counter()

def counted(name):
  encode = getattr(HyperCLIP, name)
  def wrapped(self, items, lift=True):
    counts[name] += len(items)
    return encode(self, items, lift)
  setattr(HyperCLIP, name, wrapped)

counted("encode_image")
sample = sources.sample(config.read(workdir))
found = held_out.evaluate(hyperclip_jax.load(workdir), sample)
print(json.dumps([found.results, found.context, counts]))
"""


@pytest.fixture
def together(monkeypatch):
  """together(n, work) runs work(i) as processes 0 to n - 1: threads here."""
  local = threading.local()

  def run(count, work):
    barrier = threading.Barrier(count, timeout=20)
    given = [None] * count

    def exchange(rows):
      given[local.number] = rows
      barrier.wait()
      shapes = {np.shape(one) for one in given}
      assert len(shapes) == 1  # or the real one would fail or hang
      found = np.stack(given)
      barrier.wait()
      return found

    def process(number):
      local.number = number
      return work(number)

    monkeypatch.setattr(jax, "process_count", lambda: count)
    monkeypatch.setattr(jax, "process_index", lambda: local.number)
    monkeypatch.setattr(multihost_utils, "process_allgather", exchange)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
      return [*pool.map(process, range(count))]

  return run


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("number", [2, 4])
def test_each_process_encodes_its_share(count, number, together):
  items = [str(i) for i in range(count)]
  given = []

  def encode(some):
    given.append(len(some))
    return np.array([[float(item)] for item in some], np.float32)

  for found in together(number, lambda i: encoding.shared(encode, items)):
    np.testing.assert_array_equal(found[:, 0], np.arange(count))
  assert given == [-(-count // number)] * number


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_images_are_shared_by_chunks(count, together, make_model, monkeypatch):
  monkeypatch.setattr(encoding, "CHUNK", 2)
  model, seen = make_model(False), []

  def read(number):
    seen.append(number)
    if number == 3:
      raise ImageError("3 is bad")
    return np.full((8, 8, 3), 20 * number, np.uint8), str(number)

  def work(i):
    del i
    return encoding.encode(model, count, read)

  one = together(1, work)[0]
  assert sorted(seen) == [*range(count)]
  seen.clear()
  for found in together(3, work):
    np.testing.assert_array_equal(found.embeddings, one.embeddings)
    assert found[1:] == one[1:]
  assert sorted(seen) == [*range(count)]  # each was read once


def test_a_process_that_fails_ends_the_task_for_all(
  together, make_model, tmp_path
):
  """In whatever order they fail, none waits, and the next task goes on."""
  shade = np.zeros((8, 8, 3), np.uint8)

  def early(model, data, number):
    if number == 1:
      raise MissingData("cars", "http://x", "cars/*.jpg")
    return {
      "n": float(len(encoding.encode(model, 4, lambda i: (shade, i)).numbers))
    }

  def within(model, data, number):
    def read(i):
      if number == 1:
        raise ValueError("bad label")
      return shade, i

    return {"n": float(len(encoding.encode(model, 600, read).numbers))}

  def late(model, data, number):
    found = encoding.encode(model, 4, lambda i: (shade, i))
    if number == 1:
      raise OSError("no file")
    return {"n": float(len(found.numbers))}

  def other(model, data, number):
    return {
      "n": float(len(encoding.encode(model, 3 + number, read_shade).numbers))
    }

  def read_shade(i):
    return shade, i

  def fine(model, data, number):
    return {"n": float(len(encoding.encode(model, 4, read_shade).numbers))}

  works = {f.__name__: f for f in (early, within, late, other, fine)}

  def work(number):
    tasks = [
      Task(name, functools.partial(f, number=number), {})
      for name, f in works.items()
    ]
    output = tmp_path / str(number)
    return [*runner.run(make_model(False), tasks, tmp_path, output, "digest")]

  found = together(2, work)
  for outcomes in found:
    assert [o.status for o in outcomes] == ["missing", *["failed"] * 3, "done"]
    assert outcomes[0].brief.startswith("on process 1: needs cars/*.jpg")
    assert outcomes[1].message == "on process 1: bad label"
    assert outcomes[2].message == "on process 1: no file"
    assert "3 on process 0, 4 on process 1" in outcomes[3].message
    assert outcomes[4].results == {"n": 4}
  assert not (tmp_path / "1").exists()  # The first writes.
  again = together(2, work)  # What it kept counts for all.
  assert [o[4].results for o in again] == [{"n": 4.0}] * 2


def test_long_messages_and_unequal_rows_arrive(together):
  text = ["\u202e" * 5000, "b", ""]
  assert together(3, lambda i: processes.gather(text[i])) == [text] * 3
  mine = [np.ones((i, 2 * bool(i)), np.float32) for i in range(3)]
  for found in together(3, lambda i: processes.rows(mine[i])):
    assert [rows.shape for rows in found] == [(0, 2), (1, 2), (2, 2)]
  with pytest.raises(ValueError, match="tasks differ between processes"):
    together(2, lambda i: processes.agree("tasks", i))


@pytest.mark.slow
def test_two_processes_measure_as_one(tmp_path):
  """One process of eight devices, and two of one device each."""
  workdir = saved.model(tmp_path / "run")
  sample = sources.sample(config.read(workdir))
  wanted = held_out.evaluate(hyperclip_jax.load(workdir), sample)
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    address = f"localhost:{sock.getsockname()[1]}"
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", EVALUATE, address, str(i), str(workdir)],
      cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
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


EVALS = """
import pathlib, sys
from hyperclip_jax.commands import door
from hyperclip_jax.evals import encoding
encoding.CHUNK = 4
sys.exit(door.run(["evals", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_evals_over_two_processes_equals_one(tmp_path):
  """Bit for bit, though one of the processes lacks a data set."""
  workdir = saved.model(tmp_path / "run")
  places = [tmp_path / f"data{number}" for number in range(2)]
  rng = np.random.default_rng(0)
  shades = rng.integers(0, 255, (10, 3))
  for number, place in enumerate(places):
    for i, shade in enumerate(shades):
      label = ("airplanes", "Faces_easy")[i % 2]
      path = place / "caltech101" / "test" / label / f"{i}.png"
      pictures.write(path, tuple(shade.tolist()))
    if number == 0:
      (place / "mnist").symlink_to(place / "caltech101")
  flags = [f"--model={workdir}", "--tasks=caltech101,mnist,dtd"]
  alone, both = tmp_path / "alone", tmp_path / "both"
  run = functools.partial(
    subprocess.Popen, cwd=ROOT, env=ENVIRONMENT, text=True,
    stdout=subprocess.PIPE,
  )  # fmt: skip
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    address = f"localhost:{sock.getsockname()[1]}"
  command = [sys.executable, "-c", EVALS, *flags]
  jobs = [
    run([*command, f"--data={place}", f"--output={both}",
         f"--coordinator={address}", "--processes=2", f"--process={i}"])
    for i, place in enumerate(places)
  ]  # fmt: skip
  said = [job.communicate(timeout=300)[0] for job in jobs]
  assert [job.returncode for job in jobs] == [1, 1]  # mnist's classes are wrong
  assert "caltech101" in said[0]
  assert "caltech101" not in said[1]  # The first speaks.
  job = run([*command, f"--data={places[1]}", f"--output={alone}"])
  assert job.communicate(timeout=300)[0]
  wanted, found = (
    {task["name"]: task for task in json.loads(path.read_text())["tasks"]}
    for path in (folder / "results.json" for folder in (alone, both))
  )
  assert wanted["caltech101"]["results"]["images"] == 10
  assert found["caltech101"]["results"] == wanted["caltech101"]["results"]
  status = {name: task["status"] for name, task in found.items()}
  assert status == {"dtd": "missing", "caltech101": "done", "mnist": "failed"}
  assert "on process 0" in found["mnist"]["message"]
