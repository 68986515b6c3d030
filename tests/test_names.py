"""Modules that any file names, in strings and prose too, exist."""

import ast
import functools
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
KINDS = {".py", ".md", ".ipynb", ".toml", ".yml", ".sbatch", ""}


def files():
  """Tracked and new text files, or all of a copy that git does not know."""
  listed = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  paths = listed.stdout.splitlines()
  if listed.returncode:
    paths = [
      path.relative_to(ROOT)
      for folder in ("hyperclip_jax", "launch", "tests", "docs", "benchmarks")
      for path in (ROOT / folder).rglob("*")
    ]
  paths = [ROOT / path for path in paths]
  return [p for p in paths if p.suffix in KINDS and p.is_file()]


def names(text):
  """Dotted names, those of `from ... import ...` on one line among them."""
  yield from re.findall(r"\bhyperclip_jax(?:\.[A-Za-z]\w*)+", text)
  lines = re.findall(
    r"\bfrom (hyperclip_jax[\w.]*) import ([A-Za-z][\w, ]*)", text
  )
  for package, imported in lines:
    for name in imported.split(","):
      yield f"{package}.{name.split()[0]}"


@functools.cache
def defined(path):
  """What a module defines or imports at its top, and the strings there."""
  found = set()
  for node in ast.parse(path.read_text("utf-8")).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      found.add(node.name)
    else:
      for part in ast.walk(node):
        if isinstance(part, ast.alias):
          found.add(part.asname or part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
          found.add(part.id)
        elif isinstance(part, ast.Constant) and node is not part:
          found.add(part.value)
  return found


def exists(name):
  """Whether a dotted name leads to a module, or to what one defines."""
  *parts, path = reversed(name.split("."))
  path = ROOT / path
  while parts and (path / parts[-1]).is_dir():
    path /= parts.pop()
  if parts and (path / f"{parts[-1]}.py").is_file():
    path /= f"{parts.pop()}.py"
  else:
    path /= "__init__.py"
  return not parts or parts[-1] in defined(path)


@pytest.mark.parametrize(
  ("name", "found"),
  [
    ("hyperclip_jax.geometry", True),
    ("hyperclip_jax.geometry.lorentz", True),
    ("hyperclip_jax.geometry.lorentz.dist", True),
    ("hyperclip_jax.load", True),
    ("hyperclip_jax.lorentz", False),
    ("hyperclip_jax.signals", False),  # a word of its docstring
    ("hyperclip_jax.geometry.lorentz.no_such_function", False),
  ],
)
def test_existence(name, found):
  assert exists(name) == found


def test_every_module_that_a_file_names_exists():
  here = pathlib.Path(__file__)
  missing = {
    f"{path.relative_to(ROOT)}: {name}"
    for path in files()
    if path != here
    for name in names(path.read_text("utf-8"))
    if not exists(name.removesuffix(".py"))
  }
  assert sorted(missing) == []
