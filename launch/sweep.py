"""Sweeps: the grid of all combinations of config values."""

import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Sequence

OPENING, CLOSING = "([{", ")]}"
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
LONGEST = 40  # characters of a value in a folder's name
LONGEST_NAME = 150  # characters of a name; file systems allow 255 bytes


@dataclasses.dataclass(frozen=True)
class Point:
  """One combination of values.

  Attributes:
    name: name of the folder, such as "learning_rate=1e-4_seed=0", unique in
      the sweep; empty without a sweep.
    values: (dotted config name, value as text) pairs.
  """

  name: str
  values: tuple[tuple[str, str], ...]


def grid(specs: Sequence[str]) -> list[Point]:
  """Makes all combinations; the values of the last spec vary fastest.

  Args:
    specs: texts "NAME=VALUE,VALUE,...", such as
      "optim.learning_rate=1e-4,5e-4".

  Returns:
    Points of the grid; without specs, one point that sets nothing.

  Raises:
    ValueError: a spec is malformed, or a name or value occurs twice.
  """
  axes = dict(map(parse, specs))
  if len(axes) < len(specs):
    raise ValueError(f"a name is swept twice: {', '.join(specs)}")
  leaves = [name.rpartition(".")[2] for name in axes]
  short = {
    name: name if leaves.count(leaf) > 1 else leaf
    for name, leaf in zip(axes, leaves, strict=True)
  }
  return [
    Point(
      _cut(
        "_".join(
          f"{short[name]}={_file_name(value)}"
          for name, value in zip(axes, values, strict=True)
        ),
        LONGEST_NAME,
      ),
      tuple(zip(axes, values, strict=True)),
    )
    for values in itertools.product(*axes.values())
  ]


def check(
  config: str, overrides: Sequence[tuple[str, str]], points: Sequence[Point]
) -> None:
  """Checks that the config accepts the names and values of a sweep.

  Args:
    config: value of --config, a name or a file; a file that can only be read
      where the job runs is not checked.
    overrides: (dotted config name, value as text) pairs for all points.
    points: points of the sweep.

  Raises:
    ValueError: a name or value is invalid.
    FileNotFoundError: no config has that name.
  """
  file = config.partition(":")[0]
  by_name = "/" not in file and not file.endswith(".py")
  if not by_name and not pathlib.Path(file).expanduser().is_file():
    return
  # Imported here, since they import JAX, which launchers do not need.
  from hyperclip_jax.training import config as config_lib
  from hyperclip_jax.training import config_tree

  try:
    loaded = config_tree.load(config)
  except ValueError:
    return  # It may need the environment of the job.
  swept = [pair for point in points for pair in point.values]
  config_lib.override(
    loaded.copy_and_resolve_references(), [*overrides, *swept]
  )
  for point in points:
    one = loaded.copy_and_resolve_references()
    config_lib.override(one, [*overrides, *point.values])
    # The number of devices of the job is not known here.
    config_lib.validate(one, one.mesh.model)


def parse(spec: str) -> tuple[str, list[str]]:
  """Parses a spec into its name and values; commas in brackets do not split.

  Raises:
    ValueError: the spec is malformed.
  """
  name, equals, text = spec.partition("=")
  if not equals or not NAME.fullmatch(name) or name.startswith("config."):
    raise ValueError(
      f"the sweep {spec!r} is not NAME=VALUE,VALUE with a name as in "
      "optim.learning_rate, without config."
    )
  values, depth = [""], 0
  for character in text:
    depth += (character in OPENING) - (character in CLOSING)
    if character == "," and depth == 0:
      values.append("")
    else:
      values[-1] += character
  if "" in values:
    raise ValueError(f"the sweep {spec!r} has an empty value")
  if len(set(values)) < len(values):
    raise ValueError(f"the sweep {spec!r} has a value twice")
  return name, values


def _file_name(value: str) -> str:
  """Converts a value to a part of a file name, unique to the value."""
  safe = re.sub(r"[^A-Za-z0-9.+-]+", "-", value)
  return _cut(safe, LONGEST, value)


def _cut(name: str, most: int, whole: str = "") -> str:
  """Cuts a name to `most` characters, with a digest if anything is lost."""
  whole = whole or name
  if name == whole and len(name) <= most:
    return name
  return f"{name[:most]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
