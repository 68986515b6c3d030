"""Sweeps: the grid of all combinations of some config values."""

import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Sequence

OPENING, CLOSING = "([{", ")]}"
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
LONGEST = 40  # characters of a value in a folder's name
LONGEST_NAME = 150  # of the name; file systems take 255 bytes


@dataclasses.dataclass(frozen=True)
class Point:
  """One combination.

  Attributes:
    name: names the point's folder, such as "learning_rate=1e-4_seed=0"; no
      two points of a sweep share one. Empty where nothing is swept.
    values: (dotted config name, value as it is written) pairs.
  """

  name: str
  values: tuple[tuple[str, str], ...]


def grid(specs: Sequence[str]) -> list[Point]:
  """All combinations, the last spec's values changing fastest.

  Args:
    specs: each "NAME=VALUE,VALUE,...", such as "optim.learning_rate=1e-4,5e-4".

  Returns:
    The points; without specs the one that sets nothing.

  Raises:
    ValueError: a spec is malformed, or a name or value comes twice.
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
  """Refuses names and values that the config does not take.

  Args:
    config: main's --config; one that can only be read where the job runs is not
      checked.
    overrides: (dotted config name, value as it is written) pairs of all points.
    points: what is swept.

  Raises:
    ValueError: what is wrong with them.
  """
  file = config.partition(":")[0]
  if not pathlib.Path(file).expanduser().is_file():
    return
  # Here, as they take JAX, which launchers do without.
  from hyperclip_jax.training import config as config_lib
  from hyperclip_jax.training import config_tree

  try:
    loaded = config_tree.load(config)
  except ValueError:
    return  # It may read what only the job's environment has.
  swept = [pair for point in points for pair in point.values]
  config_tree.override(
    loaded.copy_and_resolve_references(), [*overrides, *swept]
  )
  for point in points:
    one = loaded.copy_and_resolve_references()
    config_tree.override(one, [*overrides, *point.values])
    # How many devices will share a batch is not known here.
    config_lib.validate(one, one.mesh.model)


def parse(spec: str) -> tuple[str, list[str]]:
  """The name and the values of one spec; commas in brackets part nothing.

  Raises:
    ValueError: what is wrong with it.
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
  """A value as a part of a file's name; different for different values."""
  safe = re.sub(r"[^A-Za-z0-9.+-]+", "-", value)
  return _cut(safe, LONGEST, value)


def _cut(name: str, most: int, whole: str = "") -> str:
  """At most `most` characters, with a digest where the name is not whole."""
  whole = whole or name
  if name == whole and len(name) <= most:
    return name
  return f"{name[:most]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
