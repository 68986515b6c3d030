"""Runs commands: `hyperclip COMMAND --NAME=VALUE ...`."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import hyperclip_jax
from hyperclip_jax import files, sections
from hyperclip_jax.commands import parser
from hyperclip_jax.commands.flags import COMMANDS
from hyperclip_jax.training import config_tree

PROGRAM = "hyperclip"
HELP = {"-h", "-help", "--help"}


def run(argv: Sequence[str]) -> int:
  """Runs a command line.

  Args:
    argv: name of the command and its arguments.

  Returns:
    Exit code.

  Raises:
    SystemExit: the command line is wrong or the command failed; it carries the
      message, so that the exit code is 1.
  """
  name, *rest = argv or ["--help"]
  if name in HELP:
    print(usage())
    return 0
  if name == "--version":
    print(PROGRAM, hyperclip_jax.__version__)
    return 0
  if name not in COMMANDS:
    fail(_no_command(name))
  try:
    if HELP & {*rest}:
      print(explained(name, [word for word in rest if word not in HELP]))
      return 0
    values = parsed(name, rest)
  except (ValueError, OSError) as error:
    fail(error)
  module, _, function = COMMANDS[name].work.partition(":")
  work = importlib.import_module(f"hyperclip_jax.commands.{module}")
  return getattr(work, function)(values) or 0


def fail(error: Exception | str) -> NoReturn:
  """Exits with one message, escaped for terminals."""
  lines = str(error).split("\n")
  sys.exit("error: " + "\n".join(files.shown(line, 4000) for line in lines))


def usage() -> str:
  """Lists the commands, one per line."""
  wide = max(map(len, COMMANDS))
  rows = [f"  {name:{wide}}  {c.purpose}" for name, c in COMMANDS.items()]
  return "\n".join(
    [
      f"usage: {PROGRAM} COMMAND --NAME=VALUE ...",
      "",
      *rows,
      "",
      f"{PROGRAM} COMMAND --help lists the flags of a command.",
    ]
  )


def explained(name: str, argv: Sequence[str]) -> str:
  """Makes the help text of a command.

  Args:
    name: name of the command.
    argv: other arguments; the values of a --config among them are listed.

  Returns:
    Help text.

  Raises:
    ValueError: the config is invalid.
    OSError: the config cannot be read.
  """
  command = COMMANDS[name]
  found = parser.explained(
    f"{PROGRAM} {name}",
    command.purpose,
    command.flags,
    command.details,
  )
  rest, _ = config_tree.split(argv)
  config = getattr(parser.parse(command.flags, rest)[0], "config", None)
  if config is None:
    return found
  values = config_tree.leaves(config_tree.load(config))
  rows = [f"  --config.{name}={value}" for name, value in values]
  return "\n".join([found, "", f"values of {files.shown(config)}:", *rows])


def parsed(name: str, argv: Sequence[str]) -> argparse.Namespace:
  """Parses the arguments of a command.

  Args:
    name: name of the command.
    argv: arguments of the command.

  Returns:
    Values of the flags, and `overrides` of the config.

  Raises:
    ValueError: an argument would be ignored, a value is invalid, or a flag is
      missing.
  """
  command = COMMANDS[name]
  rest, overrides = config_tree.split(argv)
  values, left = parser.parse(command.flags, rest)
  values.overrides = overrides
  if command.words:
    given = [word for word in left if not word.startswith("-")]
    left = [word for word in left if word.startswith("-")]
    before = getattr(values, command.words) or []
    setattr(values, command.words, [*before, *given])
  unknown = [word for word in left if word.startswith("-") and word != "--"]
  problems = [_unknown(name, word, values) for word in unknown]
  problems += [
    f"--config.{key}={value} changes nothing with {name}"
    for key, value in overrides
    if command.overrides is not None and key not in command.overrides
  ]
  if command.overrides and any("--config" in text for text in problems):
    problems.append(_data_flags(name, values))
  if not problems and left:
    problems = [
      f"stray arguments: {' '.join(left)}; write --NAME=VALUE, and quote globs"
    ]
  problems = problems or parser.missing(command.flags, values)
  if problems:
    raise ValueError("\n  ".join(problems))
  return values


def _no_command(name: str) -> str:
  hint = parser.meant(name, [*COMMANDS]) or "."
  if name.startswith("-"):
    hint = f": write {PROGRAM} COMMAND --NAME=VALUE."
  return f"no command {name!r}{hint} There are {', '.join(COMMANDS)}"


def _unknown(name: str, word: str, values: argparse.Namespace) -> str:
  """Makes the message on a flag that a command does not have."""
  flag = word.lstrip("-").partition("=")[0]
  owners = [
    other
    for other, command in COMMANDS.items()
    if flag in [known.name for known in command.flags]
  ]
  if owners:
    found = f"--{flag} is a flag of {', '.join(owners)}, not of {name}"
  else:
    found = f"{name} has no flag --{flag}"
  own = [known.name for known in COMMANDS[name].flags]
  hint = "" if owners else parser.meant(flag, own, "--")
  if not hint and COMMANDS[name].overrides is None:
    hint = _config_value(flag, values.config)
  return found + hint


def _config_value(flag: str, config: str | None) -> str:
  """Suggests the config value that a flag was probably meant to set."""
  if config is None:
    return ""
  try:
    known = [name for name, _ in config_tree.leaves(config_tree.load(config))]
  except (ValueError, OSError):
    return ""
  near = sections.closest(flag, known)
  return f", did you mean --config.{near}?" if near else ""


def _data_flags(name: str, values: argparse.Namespace) -> str:
  """Explains which flags of the config a command on a run accepts."""
  taken = COMMANDS[name].overrides or ()
  kept = [f"--config.{k}={v}" for k, v in values.overrides if k in taken]
  folder = values.workdir or "--workdir"
  return (
    f"{name} reads the config of the run in {folder}, and takes only the paths "
    f"of its data: {' '.join(kept) or '--config.shapes.folder=DIR'}"
  )
