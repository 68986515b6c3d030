"""Measures how long saving a checkpoint blocks a run, and its total work.

JAX_PLATFORMS=cpu python -m benchmarks.checkpoints --config=configs/FILE.py

With --windows=N it also trains for N windows of `checkpoint.every` steps that
start with a save and N without, alternating, to see what a save adds to them.
"""

import argparse
import dataclasses
import importlib.util
import pathlib
import statistics
import tempfile
import time

import jax

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.records import digests
from hyperclip_jax.training import build, runs, sharding, train
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.step import TrainState


def read_config(path: str) -> Config:
  """Reads a config file."""
  spec = importlib.util.spec_from_file_location("run_file", path)
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def measure_saves(state: TrainState, workdir: pathlib.Path, saves: int) -> None:
  """Times saves of a state, and prints their medians.

  Args:
    state: state to save.
    workdir: folder for the checkpoints.
    saves: number of saves.
  """
  blocked, behind, cpu, hashing = [], [], [], []
  with checkpoint.Checkpoints(workdir, keep=2) as checkpoints:
    for _ in range(saves + 1):  # the first creates folders and caches
      state = dataclasses.replace(state, step=state.step + 1)
      begin, work = time.monotonic(), time.process_time()
      checkpoints.save(state, {})
      blocked.append(time.monotonic() - begin)
      checkpoints.wait()
      behind.append(time.monotonic() - begin - blocked[-1])
      cpu.append(time.process_time() - work)
  newest = workdir / checkpoint.FOLDER / str(int(state.step))
  for _ in range(saves + 1):
    begin = time.process_time()
    assert digests.problem(newest) is None
    hashing.append(time.process_time() - begin)
  for name, values in (
    ("the run stands still", blocked),
    ("then in the background", behind),
    ("CPU time of both", cpu),
    ("of it, digests take", hashing),
  ):
    print(f"  {name}: {1e3 * statistics.median(values[1:]):.0f} ms (median)")


def measure_training(
  config: Config, workdir: pathlib.Path, windows: int
) -> None:
  """Times steps with and without saves, and prints their medians.

  Args:
    config: config of the run.
    workdir: folder for the checkpoints.
    windows: number of windows of each kind.
  """
  run = runs.prepare(config, workdir)
  step, (state, meta) = train.make_step(run), train.first_state(run)
  batches = train.make_batches(run, 0, Faults(0.0))
  every = config.checkpoint.every
  wall: tuple[list[float], ...] = ([], [])
  cpu: tuple[list[float], ...] = ([], [])
  with checkpoint.Checkpoints(workdir, keep=2) as checkpoints:

    def window(state: TrainState, saving: bool) -> TrainState:
      if saving:
        checkpoints.save(state, meta)
      for _ in range(every):
        state, _ = step(state, sharding.to_global(next(batches), run.mesh))
      checkpoints.wait()
      return jax.block_until_ready(state)

    state = window(state, True)  # compiles
    for i in range(2 * windows):
      begin, work = time.monotonic(), time.process_time()
      state = window(state, bool(i % 2))
      wall[i % 2].append(1e3 * (time.monotonic() - begin) / every)
      cpu[i % 2].append(1e3 * (time.process_time() - work) / every)
  for name, times in (("time", wall), ("CPU time", cpu)):
    without, saving = map(statistics.median, times)
    print(
      f"  {name} of a step: {without:.2f} ms, with a save every {every} steps "
      f"{saving:.2f} ms, {saving / without - 1:+.1%} (medians of {windows})"
    )
    for values in times:
      print("    " + " ".join(f"{value:.2f}" for value in values))


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--config", required=True)
  parser.add_argument("--saves", type=int, default=7)
  parser.add_argument("--windows", type=int, default=0)
  options = parser.parse_args()
  config = read_config(options.config)
  task = build.task(config, sharding.make_mesh())
  state = jax.jit(build.init(config, task))()
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  print(f"{options.config}: a state of {size / 2**20:.0f} MiB")
  with tempfile.TemporaryDirectory() as folder:
    measure_saves(state, pathlib.Path(folder), options.saves)
  if options.windows:
    with tempfile.TemporaryDirectory() as folder:
      measure_training(config, pathlib.Path(folder), options.windows)


if __name__ == "__main__":
  main()
