"""Checks that a run is reproducible, resumes exactly, and learns.

  python -m benchmarks.gpu.sure --output FILE.json [--steps 40]
    [--set NAME=VALUE]

- twice: two runs on the embedded data have the same losses and parameters, bit
  for bit. On a GPU this needs XLA_FLAGS=--xla_gpu_deterministic_ops=true.
- resumed: likewise one that lost its last checkpoint and was resumed from the
  middle.
- main: the README's main job, with its zero-shot accuracy.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

import hyperclip_jax


def run(folder: pathlib.Path, workdir: str, values: list[str]) -> float:
  """Trains on the embedded data.

  Args:
    folder: folder of the data and runs.
    workdir: name of the run's folder.
    values: config values, NAME=VALUE.

  Returns:
    Seconds that it took.
  """
  start = time.perf_counter()
  subprocess.run(
    [
      *(sys.executable, "-m", "hyperclip_jax.main"),
      "--config=configs/shapes_tiny.py",
      f"--workdir={folder / workdir}",
      f"--config.shapes.folder={folder / 'shapes'}",
      *(f"--config.{value}" for value in values),
    ],
    check=True,
  )
  return time.perf_counter() - start


def rows(workdir: pathlib.Path) -> list[dict[str, float]]:
  """Reads the metrics of a run, one row for each log line."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def difference(one: pathlib.Path, other: pathlib.Path) -> str:
  """Compares the losses and parameters of two runs.

  Args:
    one: workdir of a run.
    other: workdir of the other run.

  Returns:
    The first loss or parameter that differs, or "".
  """

  def losses(workdir):
    return {r["step"]: r["loss"] for r in rows(workdir) if "loss" in r}

  a, b = losses(one), losses(other)
  for step in a.keys() & b.keys():
    if a[step] != b[step]:
      return f"loss of step {step}: {a[step]} and {b[step]}"
  trees = [hyperclip_jax.load(workdir).params for workdir in (one, other)]
  leaves = zip(
    *(jax.tree_util.tree_leaves_with_path(tree) for tree in trees), strict=True
  )
  for (path, x), (_, y) in leaves:
    if not np.array_equal(x, y):
      gap = float(np.max(np.abs(np.asarray(x) - np.asarray(y))))
      return f"{jax.tree_util.keystr(path)}: by up to {gap:.1e}"
  return ""


def main() -> None:
  """Runs the checks."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--steps", type=int, default=40)
  add("--main_steps", type=int, default=800)
  add("--set", nargs="*", default=[])
  flags = parser.parse_args()
  half = flags.steps // 2
  short = [
    *flags.set,
    f"steps={flags.steps}",
    f"optim.warmup={half}",
    f"eval_every={10 * flags.steps}",
    f"log_every={max(1, half // 2)}",
    f"checkpoint.every={half}",
  ]
  found: dict[str, Any] = {}

  def keep(**values: Any) -> None:
    found.update(values)
    flags.output.write_text(json.dumps(found, indent=1) + "\n")

  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for workdir in ("one", "two"):
      run(folder, workdir, short)
    keep(twice=difference(folder / "one", folder / "two"))
    shutil.rmtree(folder / "two" / "checkpoints" / str(flags.steps))
    run(folder, "two", short)
    keep(resumed=difference(folder / "one", folder / "two"))
    values = [*flags.set, f"steps={flags.main_steps}"]
    seconds = run(folder, "main", values)
    last = {}
    for row in rows(folder / "main"):
      last |= row
    results = json.loads((folder / "main" / "results.json").read_text())
    keep(
      main_seconds=seconds,
      main_loss=last["loss"],
      main_results={
        key: value for key, value in results.items() if "zero_shot" in key
      },
    )
  print(json.dumps(found, indent=1))


if __name__ == "__main__":
  main()
