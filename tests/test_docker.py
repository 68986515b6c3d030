"""The Dockerfile copies what exists, and installs and runs what there is."""

import ast
import fnmatch
import json
import pathlib
import re

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.commands.flags import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
KNOWN = {
  *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR")
}


def instructions():
  """(instruction, arguments), with lines joined that belong together."""
  plain = "\n".join(
    line for line in TEXT.splitlines() if not line.startswith("#")
  )
  lines = re.sub(r"\\\n\s*", " ", plain).splitlines()
  return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def arguments(name):
  return [rest for found, rest in instructions() if found == name]


def test_only_known_instructions_and_variables_that_are_declared():
  found = instructions()
  assert {name for name, _ in found} <= KNOWN
  assert [name for name, _ in found][:2] == ["ARG", "FROM"]
  declared = {rest.partition("=")[0] for rest in arguments("ARG")}
  used = {
    name for _, rest in found for name in re.findall(r"\$\{(\w+)\}", rest)
  }
  assert used <= declared
  # What is declared before FROM does not reach the image.
  assert arguments("ARG")[0].startswith("PYTHON=")
  assert "${EXTRAS}" not in arguments("FROM")[0]
  assert not any("${PYTHON}" in rest for rest in arguments("RUN"))


def test_what_is_copied_exists_and_is_not_ignored():
  allowed = [
    line[1:]
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line.startswith("!")
  ]
  copied = [name for rest in arguments("COPY") for name in rest.split()[:-1]]
  assert sorted(copied) == sorted(allowed)
  for name in copied:
    assert (ROOT / name).exists()
  # Everything that the build reads.
  for needed in ("setup.py", "pyproject.toml", "README.md", "configs"):
    assert any(fnmatch.fnmatch(needed, name) for name in copied)


def extras():
  tree = ast.parse((ROOT / "setup.py").read_text())
  (found,) = [
    node.value
    for node in tree.body
    if isinstance(node, ast.Assign)
    and getattr(node.targets[0], "id", "") == "EXTRAS"
  ]
  assert isinstance(found, ast.Dict)
  return {key.value for key in found.keys if isinstance(key, ast.Constant)}


def test_its_extras_and_python_are_those_of_setup():
  named = re.findall(r"EXTRAS=([\w,-]+)", TEXT)
  assert {name for group in named for name in group.split(",")} <= extras()
  assert "gpu-cuda12" in extras()
  (python,) = re.findall(r"PYTHON=([\d.]+)", TEXT)
  assert f"Python :: {python}" in (ROOT / "setup.py").read_text()


def test_it_starts_the_console_script_not_as_root():
  (entry,) = arguments("ENTRYPOINT")
  (program,) = json.loads(entry)
  setup = (ROOT / "setup.py").read_text()
  assert f'"{program} = hyperclip_jax.main:start"' in setup
  names = [name for name, _ in instructions()]
  assert names.index("USER") < names.index("ENTRYPOINT")
  (default,) = arguments("CMD")
  assert door.run(json.loads(default)) == 0


@pytest.mark.parametrize("line", re.findall(r"#   docker run .*", TEXT))
def test_commands_in_its_head_exist(line):
  words = line.split()
  image = next(word for word in words if word.startswith("hyperclip"))
  assert words[words.index(image) + 1] in COMMANDS
