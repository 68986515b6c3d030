"""Validates this code on a GPU, or rehearses that on a CPU.

  python -m benchmarks.gpu --output DIR [--minutes 9] [--rehearse] [--only NAME]

Run it from the checkout, after `pip install -e '.[gpu,test]'`. The blocks of
`blocks.plan` run one after the other, each in its own processes and with its
own time limit. DIR gets results.json and results.md, rewritten after every
block, and log.txt with everything printed. Blocks that do not fit in the time
are listed.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.gpu import table
from benchmarks.gpu.blocks import Block, plan

LEAST = 15.0  # seconds that must be left to start a block
REHEARSAL = {  # on a CPU, where compilation takes nearly all of the time
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_backend_optimization_level=0 "
  "--xla_llvm_disable_expensive_passes=true",
}
VERSIONS = """
import json, sys, importlib.metadata as m, jax
names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch")
found = {"python": sys.version.split()[0], "backend": jax.default_backend()}
for name in names:
  try: found[name] = m.version(name)
  except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


def card() -> tuple[str, float]:
  """Returns name with driver, and memory in GiB, of the first GPU.

  Without a GPU they are "" and 0.
  """
  query = ["--query-gpu=name,driver_version,memory.total"]
  try:
    text = subprocess.run(
      ["nvidia-smi", *query, "--format=csv,noheader,nounits"],
      capture_output=True,
      text=True,
      check=True,
    ).stdout
  except (OSError, subprocess.CalledProcessError):
    return "", 0.0
  name, driver, memory = text.splitlines()[0].split(", ")
  return f"{name} (driver {driver})", float(memory) / 1024


def run(
  block: Block, limit: float, folder: pathlib.Path, env: dict[str, str]
) -> dict[str, Any]:
  """Runs a block to its end or its time limit.

  Args:
    block: block to run.
    limit: time limit in seconds.
    folder: folder of the log and the results.
    env: environment variables of all blocks.

  Returns:
    Outcome, seconds and results, as far as it wrote them.
  """
  output = folder / "block.json"
  output.unlink(missing_ok=True)
  command = [sys.executable, "-m", block.module, *block.flags]
  command += ["--output", str(output)] if block.writes else []
  start = time.monotonic()
  with (folder / "log.txt").open("ab") as log:
    log.write(f"\n== {block.name}: {' '.join(command)}\n".encode())
    log.flush()
    process = subprocess.Popen(
      command,
      stdout=log,
      stderr=subprocess.STDOUT,
      env=env | block.env,
      start_new_session=True,
    )
    try:
      code = process.wait(limit)
      outcome = "done" if code == 0 else f"failed, exit code {code}"
    except subprocess.TimeoutExpired:
      outcome = f"stopped after {limit:.0f} s"
    finally:
      # ends its children too: the next block needs their GPU memory
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()
  found = None
  if output.exists():
    found = json.loads(output.read_text())
    output.unlink()
  return {
    "name": block.name,
    "outcome": outcome,
    "seconds": time.monotonic() - start,
    "env": dict(block.env),
    "command": command[1:],
    "results": found,
  }


def main(argv: list[str] | None = None) -> int:
  """Runs the plan.

  Args:
    argv: flags; those of the process if None.

  Returns:
    Exit code: 1 if a block failed or a result is wrong.
  """
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
  )
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--minutes", type=float, default=9.0, help="of all blocks together")
  add("--rehearse", action="store_true", help="tiny sizes on the CPU")
  add("--only", nargs="*", default=[], help="names of blocks")
  flags = parser.parse_args(argv)
  end = time.monotonic() + 60 * flags.minutes
  flags.output.mkdir(parents=True, exist_ok=True)
  name, memory = ("", 0.0) if flags.rehearse else card()
  if not name and not flags.rehearse:
    sys.exit("error: nvidia-smi finds no GPU; --rehearse runs on the CPU")
  blocks = plan(memory, flags.rehearse)
  unknown = set(flags.only) - {block.name for block in blocks}
  if unknown:
    known = ", ".join(repr(block.name) for block in blocks)
    sys.exit(f"error: --only: no block {sorted(unknown)}; there are {known}")
  with tempfile.TemporaryDirectory() as cache:
    env = {"JAX_COMPILATION_CACHE_DIR": cache} | os.environ
    env |= REHEARSAL if flags.rehearse else {}
    versions = subprocess.run(
      [sys.executable, "-c", VERSIONS],
      env=env,
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    results: dict[str, Any] = {
      "date": datetime.date.today().isoformat(),
      "card": name,
      "gibibytes": memory,
      "versions": json.loads(versions.splitlines()[-1]),
      "blocks": [],
    }
    for block in blocks:
      if flags.only and block.name not in flags.only:
        continue
      left = end - time.monotonic()
      if left < LEAST:
        row = {"outcome": "no time left", "seconds": 0.0, "results": None}
        results["blocks"].append({"name": block.name} | row)
      else:
        limit = min(block.seconds, left)
        results["blocks"].append(run(block, limit, flags.output, env))
      row = results["blocks"][-1]
      print(f"{row['name']}: {row['outcome']} ({row['seconds']:.0f} s)")
      sys.stdout.flush()
      text = json.dumps(results, indent=1) + "\n"
      (flags.output / "results.json").write_text(text)
      (flags.output / "results.md").write_text(table.markdown(results))
  print((flags.output / "results.md").read_text())
  return int(not all(map(_good, results["blocks"])))


def _good(row: dict[str, Any]) -> bool:
  """Checks that a block succeeded, and that its checks did."""
  found = row["results"] or {}
  if row["name"] == "right":
    return row["outcome"] == "done" and all(c["ok"] for c in found["checks"])
  if row["name"] == "sure":
    same = not (found.get("twice", "?") or found.get("resumed", "?"))
    return row["outcome"] == "done" and same
  return row["outcome"] == "done"


if __name__ == "__main__":
  sys.exit(main())
