"""Measures whether the loader keeps the device busy, from JPEG shards to steps.

  python -m benchmarks.gpu.fed --output FILE.json [--size B] [--batch 768]
    [--threads 1 4 8 16] [--set NAME=VALUE]

- loader: samples per second of wall time with each number of threads, on shards
  of HyCoCLIP's layout, two JPEGs of 224 pixels in a sample.
- training: steps on those batches alternate with steps on one batch that stays
  on the device.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

from benchmarks import loader, step
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.training import runs, sharding, train
from hyperclip_jax.training.config import Config


def rates(
  config: Config, source: TarSource, threads: list[int], seconds: float
) -> dict[str, float]:
  """Measures the loader with several numbers of threads.

  Args:
    config: config of the run.
    source: records.
    threads: numbers of threads.
    seconds: duration of each measurement.

  Returns:
    Samples per second by number of threads.
  """
  found = {}
  for count in threads:
    config.data.threads = count
    batches = _batches(config, source)
    for _ in range(2):
      next(batches)
    start, samples = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
      next(batches)
      samples += config.batch_size
    found[str(count)] = samples / (time.perf_counter() - start)
  return found


def training(
  config: Config, source: TarSource, texts: list[int], rounds: int, steps: int
) -> dict[str, float]:
  """Compares steps fed by the loader with steps on one batch.

  Args:
    config: config of the run.
    source: records.
    texts: lengths of the texts.
    rounds: number of rounds.
    steps: number of steps in a round.

  Returns:
    Samples per second of each.
  """
  ours = step.HyperCLIP(config, texts, 1)
  batches = _batches(config, source)
  mesh = sharding.make_mesh()

  def fed(count: int) -> float:
    for batch in itertools.islice(batches, count):
      ours.state, metrics = run(ours.state, sharding.to_global(batch, mesh))
    return float(metrics["loss"])

  # real batches have texts of several lengths, with a program for each
  run = train.make_step(runs.Run(config, pathlib.Path(), [source], mesh))
  walls: dict[str, list[float]] = {"fed": [], "resident": []}
  ways = {"fed": fed, "resident": ours.work}
  for work in ways.values():
    work(3)
  for _ in range(rounds):
    for name, work in ways.items():
      start = time.perf_counter()
      work(steps)
      walls[name].append((time.perf_counter() - start) / steps)
  found = {
    name: config.batch_size / statistics.median(seconds)
    for name, seconds in walls.items()
  }
  return found | {"fed / resident": found["fed"] / found["resident"]}


def _batches(config: Config, source: TarSource) -> Any:
  run = runs.Run(config, pathlib.Path(), [source], sharding.make_mesh())
  return train.make_batches(run, 0, Faults(config.data.max_bad))


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--size", default="B")
  add("--batch", type=int, default=768)
  add("--dtype", default="bfloat16")
  add("--records", type=int, default=512)
  add("--threads", type=int, nargs="+", default=[1, 4, 8, 16])
  add("--set", nargs="*", default=[])
  add("--seconds", type=float, default=4.0, help="a number of threads")
  add("--rounds", type=int, default=3)
  add("--steps", type=int, default=8)
  flags = parser.parse_args()
  texts = [77, 16]
  config = step.make_config(
    flags.size, "hycoclip", flags.batch, flags.dtype, texts, flags.set
  )
  # one text length, so that both ways run the same program
  config.data.text_buckets = (config.model.text.context,)
  texts = [config.model.text.context] * 2
  found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}

  def keep() -> None:
    flags.output.write_text(json.dumps(found, indent=1) + "\n")

  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "00000.tar"
    loader.write_processed(path, flags.records, loader.CROP)
    source = TarSource([str(path)] * loader.COPIES)
    found["loader"] = rates(config, source, flags.threads, flags.seconds)
    keep()
    config.data.threads = max(flags.threads)
    found["training"] = training(
      config, source, texts, flags.rounds, flags.steps
    )
    keep()
  print(json.dumps(found, indent=1))


if __name__ == "__main__":
  main()
