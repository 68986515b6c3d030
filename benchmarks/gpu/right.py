"""Checks results on this device against golden numbers, and bfloat16.

  python -m benchmarks.gpu.right --output FILE.json [--objectives NAME ...]
    [--cases N] [--steps N] [--small KEY=VALUE ...]

Each check has the largest error found and the largest allowed.
JAX_DEFAULT_MATMUL_PRECISION sets the rounding of matmuls: use "highest" for the
verdict, and leave it unset to see the effect of TF32.
"""

import argparse
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import step
from tests import golden_files, golden_runs
from tests.golden_runs import Pair


class Check(NamedTuple):
  """One comparison.

  Attributes:
    name: name of what is compared.
    error: largest error found.
    limit: largest error allowed.
    worst: where the largest error was found.
  """

  name: str
  error: float
  limit: float
  worst: str = ""

  def row(self) -> dict[str, Any]:
    """Converts the check to a row of the results."""
    return self._asdict() | {"ok": bool(self.error <= self.limit)}


def checks(
  objectives: Sequence[str],
  cases: Sequence[str],
  steps: int,
  small: list[str],
) -> Iterator[Check]:
  """Runs all checks, the cheapest first.

  Args:
    objectives: some of "hycoclip", "meru" and "clip".
    cases: names of golden losses.
    steps: number of the golden training steps to take.
    small: settings that make the bfloat16 step small, or none.

  Yields:
    Checks.
  """
  for name in objectives:
    pairs = golden_runs.features(name)
    yield _worst(f"{name}: features, absolute", 1e-4, pairs, _absolute)
  for name in objectives:
    pairs = (
      pair._replace(name=f"{case} {pair.name}")
      for case in cases
      for pair in golden_runs.losses(case, name)[1]
    )
    label = f"{name}: losses and gradients in float64, of the largest entry"
    yield _worst(label, 1e-6, pairs, _of_largest)
  for name in objectives:
    pairs = golden_runs.series(name, steps)
    label = f"{name}: {steps} steps in float32, relative"
    yield _worst(label, 1e-4, pairs, _relative)
  yield _bfloat16(small)


def _worst(
  name: str, limit: float, pairs: Iterable[Pair], error_of: Any
) -> Check:
  errors = {pair.name: float(error_of(*pair[1:])) for pair in pairs}
  # NaN is the worst, although `max` does not see it
  worst = max(errors, key=lambda key: (np.isnan(errors[key]), errors[key]))
  return Check(name, errors[worst], limit, worst)


def _absolute(found: np.ndarray, wanted: np.ndarray) -> float:
  return np.max(np.abs(found - wanted))


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
  return np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1e-12))


def _of_largest(found: np.ndarray, wanted: np.ndarray) -> float:
  # gradients of saturated losses are rounding errors of logits near 100
  return _absolute(found, wanted) / max(np.max(np.abs(wanted)), 1e-7)


def _bfloat16(small: list[str]) -> Check:
  """Compares the first losses of S/16 with towers in bfloat16 and float32."""

  def losses(dtype: str) -> np.ndarray:
    config = step.make_config("S", "hycoclip", 16, dtype, [77, 16], small)
    ours = step.HyperCLIP(config, [77, 16], 1)
    return np.array([ours.work(1) for _ in range(3)])

  pair = Pair("loss", losses("bfloat16"), losses("float32"))
  return _worst("S/16: 3 steps in bfloat16, relative", 1e-2, [pair], _relative)


def main() -> None:
  """Runs the checks."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--objectives", nargs="+", default=golden_files.OBJECTIVES)
  add("--cases", type=int, help="number of golden losses; all by default")
  add("--steps", type=int, default=golden_runs.STEPS)
  add("--small", nargs="*", default=[], help="config values of the step")
  flags = parser.parse_args()
  rows = []
  cases = golden_runs.loss_cases()[1][: flags.cases]
  for check in checks(flags.objectives, cases, flags.steps, flags.small):
    rows.append(check.row())
    print(json.dumps(rows[-1]), flush=True)
    config: Any = jax.config
    found = {
      "precision": config.jax_default_matmul_precision or "default",
      "checks": rows,
    }
    flags.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()
