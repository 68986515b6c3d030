"""Every command line that the project prints is one that its parser takes."""

import importlib.util
import json
import pathlib
import re
import shlex

import pytest

from hyperclip_jax import main
from hyperclip_jax.commands import door
from hyperclip_jax.commands.flags import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
PLACES = (
  "*.md",
  "docs/**/*.md",
  "colab/*.ipynb",
  "hyperclip_jax/**/*.py",
  "hyperclip_jax/**/NOTICE",
  "configs/*.py",
  "launch/*.py",
  "launch/*.sbatch",
  "benchmarks/**/*.py",
  "benchmarks/*.md",
)
# Up to the end of the line or of the code around it, of a quoted text, or to a
# comment.
LINE = re.compile(
  rf"(?:\bhyperclip (?P<command>{'|'.join(COMMANDS)})\b"
  r"|-m (?P<module>(?:hyperclip_jax|benchmarks|launch)[\w.]*))"
  r"(?P<rest>(?:[^`\n#\"';&]|\"[^\"\n]*\"|'[^'\n]*')*)"
)


def text_of(path):
  """The text of a file, with lines joined that belong together."""
  text = path.read_text(encoding="utf-8")
  if path.suffix == ".ipynb":
    cells = json.loads(text)["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
  if path.suffix == ".md":  # code within a sentence
    text = re.sub(
      r"(?<!`)`[^`]+`(?!`)", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), text
    )
  return re.sub(r"\\\n\s*", " ", text).replace("\\n", "\n")


def words_of(text):
  """The words of a printed line, without what a program fills in."""
  plain = re.sub(r"[\[\]]", " ", text).replace("...", "X")
  return [w for w in shlex.split(plain) if not {"{", "$"} & {*w}]


def lines():
  """File, command or module, and arguments of all that is printed."""
  for path in (path for place in PLACES for path in ROOT.glob(place)):
    for match in LINE.finditer(text_of(path)):
      name = str(path.relative_to(ROOT))
      command = match["command"] or match["module"]
      yield name, command, " ".join(match["rest"].split())


def refusal(command, *argv):
  """What is wrong with a command line; "" if nothing is."""
  try:
    door.parsed(command, argv)
  except ValueError as error:
    return str(error)
  return ""


@pytest.mark.parametrize(("file", "command", "rest"), sorted({*lines()}))
def test_a_printed_line_is_taken(file, command, rest):
  argv = [command, *words_of(rest)]
  if command == "hyperclip_jax":
    argv = argv[1:]
  elif command == "hyperclip_jax.main":
    argv = main.by_mode(argv[1:])
  elif command not in COMMANDS:  # Its flags are tested where it is.
    assert not command.startswith("hyperclip_jax"), "none of its modules runs"
    assert importlib.util.find_spec(command)
    return
  if argv[0] == "COMMAND" or len(argv) == 1:  # in a sentence
    return
  found = refusal(*argv)
  adds = file.endswith((".ipynb", ".sbatch"))  # what is missing here
  assert not found or (adds and found.startswith("give --")), found


def test_lines_are_found():
  found = {*lines()}
  assert ("docs/reliability.md", "verify", "--workdir=DIR") in found
  assert {command for _, command, _ in found} >= {"hyperclip_jax.main"}
  assert {"train", "eval", "prepare", "report", "demo", "evals"} <= {
    command for _, command, rest in found if rest
  }
  assert len(found) > 80
