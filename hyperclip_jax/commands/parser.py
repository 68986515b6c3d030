"""Flags as data, and their parser: every error says what to write."""

import argparse
import difflib
import pathlib
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.files import shown
from hyperclip_jax.training.config_tree import FALSE, TRUE


class Flag(NamedTuple):
  """A flag `--NAME=VALUE` of a command.

  Attributes:
    name: without the dashes.
    purpose: what the help text says of it, and an error where it is missing.
    form: placeholder of the value, such as "FILE"; "" where there is none, and
      `--NAME` is true and `--noNAME` is false.
    kind: makes the value of the text; raises `argparse.ArgumentTypeError`.
    default: value without the flag.
    needed: the command does not run without it.
    many: it may be repeated, and the value is a list.
  """

  name: str
  purpose: str
  form: str = ""
  kind: Callable[[str], Any] = str
  default: Any = None
  needed: bool = False
  many: bool = False


def whole(least: int) -> Callable[[str], int]:
  """The kind of a whole number that is not less than `least`."""

  def kind(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,18}", text) or int(text) < least:
      raise argparse.ArgumentTypeError(
        f"want a whole number from {least} on, found {shown(text)!r}"
      )
    return int(text)

  return kind


def one_of(*names: str) -> Callable[[str], str]:
  """The kind of a text that is one of some names."""

  def kind(text: str) -> str:
    if text not in names:
      raise argparse.ArgumentTypeError(
        f"want {' or '.join(names)}, found {shown(text)!r}{meant(text, names)}"
      )
    return text

  return kind


def path(text: str) -> pathlib.Path:
  """The kind of a file or folder; `~` is the home folder."""
  if not text:
    raise argparse.ArgumentTypeError("want a path, found ''")
  return files.expanded(text)


def meant(text: str, names: Sequence[str], before: str = "") -> str:
  """ ", did you mean NAME?" where a name is like the text; "" if none is."""
  near = difflib.get_close_matches(text, names, 1)
  return f", did you mean {before}{near[0]}?" if near else ""


def parse(
  flags: Sequence[Flag], argv: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
  """The values of flags, and the arguments that are none of them.

  Args:
    flags: of the command; those that are needed may be missing.
    argv: arguments of the command.

  Raises:
    ValueError: a value is bad or missing.
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
  """What to give: a line for each flag that is needed and has no value."""
  return [
    f"give {_option(flag)}: {flag.purpose}"
    for flag in flags
    if flag.needed and not getattr(values, flag.name)
  ]


def explained(
  program: str, purpose: str, flags: Sequence[Flag], details: str
) -> str:
  """The help text of a command.

  Args:
    program: what the user types to get there, such as "hyperclip train".
    purpose: what the command does, without a subject.
    flags: of the command.
    details: what follows the flags, a paragraph a line.
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
  """How a help text states a default."""
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
  """An argument with two dashes, and a truth without `=VALUE`."""
  match = re.fullmatch(r"--?([A-Za-z]\w+)(?:=(.*))?", argument, re.DOTALL)
  if not match:
    return argument
  name, value = match.groups()
  if value is None:
    return f"--{name}"
  if name not in truths:
    return f"--{name}={value}"
  if value.lower() not in TRUE + FALSE:
    raise ValueError(f"--{name}: want true or false, found {shown(value)!r}")
  return f"--{name}" if value.lower() in TRUE else f"--no{name}"
