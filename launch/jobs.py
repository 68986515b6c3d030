"""What every launcher is asked for, and the jobs that follow from it."""

import argparse
import dataclasses
import os
import re
from collections.abc import Sequence

from launch import sweep

MODULE = "hyperclip_jax.main"
OVERRIDE = re.compile(r"--config\.([\w.]+)=(.*)", re.DOTALL)
# What main answers where a run was stopped and saved, for schedulers that
# start such a run again: sysexits.h's "try again later".
STOPPED = 75
# What a shell answers for a process that SIGTERM ended before Python could
# answer it: it was stopped, too.
TERMINATED = 143


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    name: the last part of the workdir, and the point of a sweep.
    workdir: the folder of the run.
    args: the flags of hyperclip_jax.main.
  """

  name: str
  workdir: str
  args: tuple[str, ...]


def parser(description: str) -> argparse.ArgumentParser:
  """A parser of the flags that all launchers have."""
  result = argparse.ArgumentParser(
    description=description,
    epilog="--config.NAME=VALUE goes to the run as it is.",
    allow_abbrev=False,
  )
  result.add_argument("--config", required=True, help="FILE or FILE:objective")
  result.add_argument(
    "--workdir", required=True, help="of the run; of a sweep, its runs' parent"
  )
  result.add_argument(
    "--sweep",
    action="append",
    default=[],
    metavar="NAME=VALUE,VALUE",
    help="config values to combine, such as seed=0,1,2; may be repeated",
  )
  result.add_argument(
    "--dry_run", action="store_true", help="print what would run, and end"
  )
  return result


def parse(
  flags: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, list[Job]]:
  """The flags' values and the jobs; a bad flag ends with a message."""
  options, overrides = flags.parse_known_args(argv)
  options.workdir = os.path.expanduser(options.workdir)
  try:
    jobs = make(options.config, options.workdir, options.sweep, overrides)
  except (ValueError, OSError) as error:
    flags.error(str(error))
  return options, jobs


def make(
  config: str, workdir: str, specs: Sequence[str], overrides: Sequence[str]
) -> list[Job]:
  """One job for each point of the sweep.

  Args:
    config: main's --config.
    workdir: main's --workdir; a sweep's points get folders in it.
    specs: what `sweep.grid` takes.
    overrides: `--config.NAME=VALUE`, the same for all jobs.

  Raises:
    ValueError: a flag that no launcher knows, or a bad sweep.
  """
  matches = {text: OVERRIDE.fullmatch(text) for text in overrides}
  bad = [text for text, match in matches.items() if not match]
  if bad:
    raise ValueError(
      f"unknown: {' '.join(bad)}; values of the config are written as "
      "--config.NAME=VALUE"
    )
  workdir = workdir.rstrip("/")
  title = workdir.rpartition("/")[2]
  if title in ("", ".", ".."):
    raise ValueError(f"--workdir must name a folder, found {workdir!r}")
  jobs = []
  points = sweep.grid(specs)
  given = [(m[1], m[2]) for m in matches.values() if m]
  sweep.check(config, given, points)
  for point in points:
    twice = {m[1] for m in matches.values() if m} & dict(point.values).keys()
    if twice:
      raise ValueError(f"{', '.join(sorted(twice))} is both set and swept")
    folder = f"{workdir}/{point.name}" if point.name else workdir
    args = (
      f"--config={config}",
      f"--workdir={folder}",
      *overrides,
      *(f"--config.{name}={value}" for name, value in point.values),
    )
    name = f"{title}_{point.name}" if point.name else title
    jobs.append(Job(name, folder, args))
  return jobs


def pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
  """NAME=VALUE flags as a dict.

  Raises:
    ValueError: one has no name or no value.
  """
  parts = [text.partition("=") for text in texts]
  for text, (name, _, value) in zip(texts, parts, strict=True):
    if not name or not value:
      raise ValueError(f"{flag} {text!r} is not NAME=VALUE")
  return {name: value for name, _, value in parts}
