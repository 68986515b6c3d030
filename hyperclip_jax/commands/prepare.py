"""The command prepare: makes clean, indexed shards of grounded data."""

import argparse
import os
import shlex
import sys
from typing import Any

from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.prepare import run, verify
from hyperclip_jax.data.prepare.manifest import Options


def prepare(options: argparse.Namespace) -> int:
  """Prepares or verifies a folder of shards."""
  jobs = options.jobs or cores()
  given = [bool(options.input), bool(options.output)]
  try:
    if options.verify is not None:
      if any(given):
        raise ValueError("--verify goes without --input and --output")
      return verified(str(options.verify), jobs)
    if not all(given):
      raise ValueError("give --input and --output, or --verify")
    made = run.prepare(
      options.input,
      str(options.output),
      Options(*(getattr(options, name) for name in Options._fields)),
      images=options.images and str(options.images),
      skip_bad=options.on_bad_shard == "skip",
      jobs=jobs,
      beam_args=options.beam_args and shlex.split(options.beam_args),
    )
  except (ValueError, OSError, ImportError, RuntimeError) as error:
    fail(error)
  _announce(str(options.output), made)
  return 0


def _announce(folder: str, made: dict[str, Any]) -> None:
  """Prints a summary; fails if there are no records."""
  print(run.summary(folder, made))
  if not made["totals"]["records"]:
    fail("no input has a good record")
  if not made["totals"]["parts"]:
    print(
      "note: no record has a part; HyCoCLIP needs them, CLIP and MERU do not",
      file=sys.stderr,
    )


def verified(folder: str, jobs: int, recipe: Any = Options) -> int:
  """Verifies a folder and prints its problems; returns the exit code."""
  problems = verify.verify(folder, jobs, recipe)
  for problem in problems:
    print(problem)
  if not problems:
    print(f"{folder}: every file is as its manifest says")
  return int(bool(problems))


def cores() -> int:
  """Counts the cores that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # macOS
    return os.cpu_count() or 1
