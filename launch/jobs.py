"""Flags that all launchers share, and the jobs that follow from them."""

import argparse
import dataclasses
import os
import re
from collections.abc import Sequence

from launch import sweep

MODULE = "hyperclip_jax.main"
OVERRIDE = re.compile(r"--config\.([\w.]+)=(.*)", re.DOTALL)
# Exit code of a run that was stopped and saved, for schedulers that restart
# such runs: EX_TEMPFAIL of sysexits.h.
STOPPED = 75
# Exit code that a shell reports for a process that SIGTERM killed before Python
# had installed its handlers; such a run was stopped too.
TERMINATED = 143


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    name: last part of the workdir, with the point of a sweep.
    workdir: folder of the run.
    args: flags of hyperclip_jax.main.
  """

  name: str
  workdir: str
  args: tuple[str, ...]


def parser(description: str) -> argparse.ArgumentParser:
  """Makes a parser of the flags that all launchers share."""
  result = argparse.ArgumentParser(
    description=description,
    epilog="--config.NAME=VALUE is passed on to the run.",
    allow_abbrev=False,
  )
  result.add_argument("--config", required=True, help="FILE or FILE:system")
  result.add_argument(
    "--workdir", required=True, help="folder of the run, or parent of a sweep's"
  )
  result.add_argument(
    "--sweep",
    action="append",
    default=[],
    metavar="NAME=VALUE,VALUE",
    help="config values to combine, such as seed=0,1,2; may be repeated",
  )
  result.add_argument(
    "--dry_run", action="store_true", help="print what would run, then exit"
  )
  return result


def parse(
  flags: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, list[Job]]:
  """Parses a command line; a bad flag exits with a message.

  Args:
    flags: parser with the flags of a launcher.
    argv: command line; None for that of this process.

  Returns:
    Values of the flags, and the jobs to run.
  """
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
  """Makes one job for each point of a sweep.

  Args:
    config: value of --config.
    workdir: value of --workdir; each point of a sweep has a folder in it.
    specs: values of --sweep, as for `sweep.grid`.
    overrides: flags `--config.NAME=VALUE` for all jobs.

  Returns:
    Jobs in the order of the sweep.

  Raises:
    ValueError: a flag is unknown, or a sweep is malformed.
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
  """Parses the values of a flag that takes NAME=VALUE.

  Args:
    texts: values of the flag.
    flag: name of the flag, for messages.

  Returns:
    Values by name.

  Raises:
    ValueError: a value has no name or nothing after "=".
  """
  parts = [text.partition("=") for text in texts]
  for text, (name, _, value) in zip(texts, parts, strict=True):
    if not name or not value:
      raise ValueError(f"{flag} {text!r} is not NAME=VALUE")
  return {name: value for name, _, value in parts}
