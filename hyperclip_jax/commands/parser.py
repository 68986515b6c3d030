"""Flags as data, and their parser, whose errors explain how to write a flag."""

import argparse
import pathlib
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.files import shown
from hyperclip_jax.sections import closest
from hyperclip_jax.training.config_tree import FALSE, TRUE


class Flag(NamedTuple):
  """A flag `--NAME=VALUE` of a command.

  Attributes:
    name: name without the dashes.
    purpose: explanation, for the help text and for errors.
    form: placeholder of the value, such as "FILE"; "" for a switch, for which
      `--NAME` is true and `--noNAME` is false.
    kind: converts the text to a value; raises `argparse.ArgumentTypeError`.
    default: value without the flag.
    needed: whether the command requires it.
    many: whether it may be repeated; its value is then a list.
  """

  name: str
  purpose: str
  form: str = ""
  kind: Callable[[str], Any] = str
  default: Any = None
  needed: bool = False
  many: bool = False


def whole(least: int) -> Callable[[str], int]:
  """Makes the kind of whole numbers of at least `least`."""

  def kind(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,18}", text) or int(text) < least:
      raise argparse.ArgumentTypeError(
        f"want a whole number from {least} on, found {shown(text)!r}"
      )
    return int(text)

  return kind


def number(text: str) -> float:
  """Converts a number; the kind of numbers."""
  try:
    return float(text)
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"want a number, found {shown(text)!r}"
    ) from None


def one_of(*names: str) -> Callable[[str], str]:
  """Makes the kind of texts that are one of some names."""

  def kind(text: str) -> str:
    if text not in names:
      raise argparse.ArgumentTypeError(
        f"want {' or '.join(names)}, found {shown(text)!r}{meant(text, names)}"
      )
    return text

  return kind


def path(text: str) -> pathlib.Path:
  """Converts the path of a file or folder; `~` is the home folder."""
  if not text:
    raise argparse.ArgumentTypeError("want a path, found ''")
  return files.expanded(text)


def meant(text: str, names: Sequence[str], before: str = "") -> str:
  """Suggests a name that is similar to a text.

  Args:
    text: unknown name.
    names: known names.
    before: text to put before the name, such as "--".

  Returns:
    ", did you mean NAME?", or "" if no name is similar.
  """
  near = closest(text, names)
  return f", did you mean {before}{near}?" if near else ""


def parse(
  flags: Sequence[Flag], argv: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
  """Parses flags.

  Args:
    flags: flags of the command; required ones may be missing.
    argv: arguments of the command.

  Returns:
    Values of the flags, and the arguments that are not flags.

  Raises:
    ValueError: a value is invalid or missing.
  """
  truths = [flag.name for flag in flags if not flag.form]
  try:
    values, rest = _parser(flags).parse_known_args(
      [_plain(argument, truths) for argument in argv]
    )
  except argparse.ArgumentError as error:
    raise ValueError(f"{error.argument_name}: {error.message}") from error
  for flag in flags:
    if getattr(values, flag.name) is None:
      setattr(values, flag.name, flag.default if flag.form else False)
  return values, rest


def missing(flags: Sequence[Flag], values: argparse.Namespace) -> list[str]:
  """Finds the required flags that have no value.

  Args:
    flags: flags of the command.
    values: values of the flags.

  Returns:
    Message for each missing flag.
  """
  return [
    f"give {_option(flag)}: {flag.purpose}"
    for flag in flags
    if flag.needed and not getattr(values, flag.name)
  ]


def explained(
  program: str, purpose: str, flags: Sequence[Flag], details: str
) -> str:
  """Makes the help text of a command.

  Args:
    program: name of the command, such as "hyperclip train".
    purpose: what the command does, as a verb phrase.
    flags: flags of the command.
    details: text after the flags, one paragraph a line.

  Returns:
    Help text.
  """
  options = [f"  {_option(flag)}" for flag in flags]
  wide = max(map(len, options))
  rows = [
    textwrap.fill(
      flag.purpose + _stated(flag.default),
      80,
      initial_indent=f"{option:{wide}}  ",
      subsequent_indent=" " * (wide + 2),
      break_on_hyphens=False,
    )
    for flag, option in zip(flags, options, strict=True)
  ]
  needed = [_option(flag) for flag in flags if flag.needed]
  usage = " ".join(["usage:", program, *needed, "[--NAME=VALUE ...]"])
  sentence = f"{purpose[0].upper()}{purpose[1:]}."
  rest = [textwrap.fill(part, 80) for part in details.splitlines()]
  parts = [usage, sentence, "\n".join(rows), "\n".join(rest)]
  return "\n\n".join(filter(None, parts))


def _option(flag: Flag) -> str:
  return f"--{flag.name}={flag.form}" if flag.form else f"--{flag.name}"


def _stated(default: Any) -> str:
  """Formats a default for a help text."""
  if default in (None, ""):
    return ""
  listed = isinstance(default, list)
  return f" ({', '.join(default) if listed else default})"


def _parser(flags: Sequence[Flag]) -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    allow_abbrev=False, add_help=False, exit_on_error=False
  )
  add = parser.add_argument
  for flag in flags:
    option = f"--{flag.name}"
    if not flag.form:
      add(option, action="store_const", const=True)
      add(f"--no{flag.name}", dest=flag.name, action="store_const", const=False)
    elif flag.many:
      add(option, action="extend", nargs="+", type=flag.kind)
    else:
      add(option, type=flag.kind)
  return parser


def _plain(argument: str, truths: Sequence[str]) -> str:
  """Normalises an argument.

  It gets two dashes, `_` in its name, and no `=VALUE` if it is a switch.
  """
  match = re.fullmatch(r"--?([A-Za-z][\w-]+)(?:=(.*))?", argument, re.DOTALL)
  if not match:
    return argument
  name, value = match.groups()
  name = name.replace("-", "_")
  if value is None:
    return f"--{name}"
  if name not in truths:
    return f"--{name}={value}"
  if value.lower() not in TRUE + FALSE:
    raise ValueError(f"--{name}: want true or false, found {shown(value)!r}")
  return f"--{name}" if value.lower() in TRUE else f"--no{name}"
