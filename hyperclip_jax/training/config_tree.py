"""Trees of config values, read from a file and set by flags."""

import ast
import importlib.util
import pathlib
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

import hyperclip_jax
from hyperclip_jax import files
from hyperclip_jax.files import shown
from hyperclip_jax.sections import WANTED, closest

OVERRIDE = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)
NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_PACKAGE = pathlib.Path(hyperclip_jax.__file__).parent
_INSTALLED = _PACKAGE / "configs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"
TRUE, FALSE = ("true", "t", "1"), ("false", "f", "0")
Override = tuple[str, str]  # dotted name, value as text


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields (dotted name, value) of every leaf of a ConfigDict.

  Args:
    config: ConfigDict.
    prefix: text before each name.

  Yields:
    Name and value.
  """
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from leaves(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def load(spec: str) -> Any:
  """Runs a config file.

  Args:
    spec: FILE, or FILE:ARGUMENT to call `get_config(ARGUMENT)`; see `find`.

  Returns:
    ConfigDict that it returns.

  Raises:
    ValueError, OSError: there is no such file, or it returns no config.
  """
  name, colon, argument = spec.partition(":")
  path = find(name)
  if path is None:
    guess = closest(pathlib.PurePath(name).stem, names())
    hint = f", did you mean {guess}?" if guess else ";"
    raise FileNotFoundError(
      f"--config={shown(spec)}: no such file{hint} want a file such as "
      f"my_config.py, or one of {', '.join(names())}"
    )
  try:
    found = importlib.util.spec_from_file_location("config_file", path)
    if found is None or found.loader is None:
      raise ValueError("not a Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    config = module.get_config(*([argument] if colon else []))
  except Exception as error:  # the file may hold any code
    raise ValueError(
      f"--config={shown(spec)}: {_where(error, path)}"
    ) from error
  if not isinstance(config, ConfigDict):
    raise ValueError(
      f"--config={shown(spec)}: get_config() must return a ConfigDict, found "
      f"{type(config).__name__}"
    )
  return config


def find(name: str) -> pathlib.Path | None:
  """Finds a config file.

  Args:
    name: path of a file, or the name of a config of the package, such as
      "grit_vitb".

  Returns:
    Path of the file; None if there is none.
  """
  path = files.expanded(name)
  if path.is_file():
    return path
  path = FOLDER / f"{name}.py"
  return path if NAME.fullmatch(name) and path.is_file() else None


def names() -> list[str]:
  """Lists the configs of the package, sorted."""
  return sorted(path.stem for path in FOLDER.glob("*.py"))


def _where(error: Exception, path: pathlib.Path) -> str:
  """Formats an error of a config file with its line there."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [f.lineno for f in frames if f.filename == str(path)]
  line = f" (line {lines[-1]})" if lines else ""
  return f"{type(error).__name__}: {error}{line}"


def split(argv: Sequence[str]) -> tuple[list[str], list[Override]]:
  """Separates `--config.NAME=VALUE` from the other arguments.

  Args:
    argv: arguments. The value may be the next argument; if none follows it is
      true, or false after `--noconfig.NAME`.

  Returns:
    The other arguments, and the overrides in order.
  """
  rest: list[str] = []
  overrides: list[Override] = []
  left = list(argv)
  while left:
    argument = left.pop(0)
    if argument == "--":
      return [*rest, argument, *left], overrides
    match = OVERRIDE.fullmatch(argument)
    if not match:
      rest.append(argument)
      continue
    no, name, value = match.groups()
    if value is None and no:
      value = "false"
    elif value is None:
      follows = bool(left) and not left[0].startswith("--")
      value = left.pop(0) if follows else "true"
    overrides.append((name, value))
  return rest, overrides


def override(config: Any, overrides: Iterable[Override]) -> None:
  """Sets values of a config from text, converted to the old value's type.

  Args:
    config: ConfigDict to change.
    overrides: dotted names and values.

  Raises:
    ValueError: an override fits no value of the config; the message lists all
      such.
  """
  problems = []
  for name, text in overrides:
    try:
      section, key = _find(config, name)
      section[key] = _parse(text, section[key])
    except ValueError as error:
      problems.append(f"--config.{shown(name)}: {error}")
  if problems:
    raise ValueError("\n  ".join(dict.fromkeys(problems)))


def _find(config: Any, name: str) -> tuple[Any, str]:
  """Finds the section and the key of a dotted name."""
  section, above = config, "config"
  *parents, key = name.split(".")
  for part in parents:
    if not isinstance(section.get(part), ConfigDict):
      raise ValueError(_unknown(config, section, above, part, name))
    section, above = section[part], f"{above}.{part}"
  if key not in section:
    raise ValueError(_unknown(config, section, above, key, name))
  if isinstance(section[key], ConfigDict):
    keys = list(section[key])
    raise ValueError(
      f"{above}.{key} is a section; set one of its values: {', '.join(keys)}"
    )
  return section, key


def _unknown(config: Any, section: Any, above: str, key: str, name: str) -> str:
  if key in section:
    return f"{above}.{key} is a value, not a section"
  guess = closest(name, [n for n, _ in leaves(config)])
  hint = f", did you mean --config.{guess}?" if guess else ":"
  return f"no such value{hint} {above} has {', '.join(section)}"


def _parse(text: str, old: Any) -> Any:
  """Converts a text to the type of the old value."""
  try:
    match old:
      case bool():
        return _boolean(text)
      case int():
        return int(text)
      case float():
        return float(text)
      case str():
        return text
      case tuple():
        found = ast.literal_eval(text)
        return tuple(found) if isinstance(found, (tuple, list)) else (found,)
  except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
    wanted = next(WANTED[t] for t in WANTED if isinstance(old, t))
    raise ValueError(f"must be {wanted}, found {shown(text)!r}") from None
  raise ValueError(f"a {type(old).__name__} cannot be set by a flag")


def _boolean(text: str) -> bool:
  if text.lower() not in TRUE + FALSE:
    raise ValueError(text)
  return text.lower() in TRUE
