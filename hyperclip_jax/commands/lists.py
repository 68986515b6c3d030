"""Parses lists on a command line: commas, quotes, lines of files, globs."""

import csv
import glob
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.data.records import tars
from hyperclip_jax.data.records.images import SUFFIXES
from hyperclip_jax.files import shown

COMMAS = (
  "commas separate values: put one that holds a comma in double quotes, as in "
  "'\"a, b\",c', or on a line of @FILE"
)


def texts(flag: str, given: Sequence[str]) -> list[str]:
  """Parses a list of texts.

  Args:
    flag: name of the flag.
    given: values of the flag, each a text or several joined by commas.

  Returns:
    Texts of the list.

  Raises:
    ValueError: the list is empty or malformed.
    OSError: an @FILE cannot be read.
  """
  found = [value for text in given for value in _parted(flag, text)]
  if not found:
    raise ValueError(f"give --{flag}, joined by commas or as @FILE")
  if any(", " in text and '"' not in text for text in given):
    # It may be one text, which would be split silently.
    listed = " | ".join(found[:5]) + (" ..." if len(found) > 5 else "")
    print(
      f"--{flag}: {len(found)} values, {shown(listed)}; {COMMAS}",
      file=sys.stderr,
    )
  return found


def paths(
  flag: str, given: Sequence[str], folders: bool = False
) -> list[pathlib.Path]:
  """Parses a list of paths and globs.

  Args:
    flag: name of the flag.
    given: values of the flag, each a path or several joined by commas.
    folders: whether a path may be of a folder.

  Returns:
    Paths of existing files.

  Raises:
    ValueError: the list is empty, or names a folder.
    OSError: a path or glob matches no file.
  """
  found: list[pathlib.Path] = []
  for text in given:
    if files.expanded(text).exists():  # A file name may contain commas.
      found += _matches(flag, text, folders)
      continue
    for name in _parted(flag, text):
      try:
        found += _matches(flag, name, folders)
      except FileNotFoundError as error:
        hint = f"; {COMMAS}" if "," in text else ""
        raise FileNotFoundError(f"{error}{hint}") from error
  if not found:
    raise ValueError(f"give --{flag}, paths or globs joined by commas")
  return found


def pictures(flag: str, given: Sequence[str]) -> dict[str, Any]:
  """Parses a list of paths and globs of images, folders and tars of images.

  Args:
    flag: name of the flag.
    given: values of the flag, each a path or several joined by commas.

  Returns:
    Image files of each folder, sorted, and images of each tar, in its order, by
    their names; a member of a tar is TAR/NAME.

  Raises:
    ValueError: the list is empty, or a tar is damaged.
    OSError: a path or glob matches no file.
  """
  found: dict[str, Any] = {}
  for path in paths(flag, given, folders=True):
    if path.is_dir():
      inside = sorted(p for p in path.rglob("*") if _is_image(p.name))
      found |= {str(p): p for p in inside if p.is_file()}
    elif path.suffix.lower() == ".tar":
      for key, members in tars.groups(str(path)):
        for suffix, member in members.items():
          if _is_image(f"{key}.{suffix}"):
            found[f"{path}/{key}.{suffix}"] = member
    else:
      found[str(path)] = path
  if not found:
    raise ValueError(f"--{flag}: no image in {shown(', '.join(given))}")
  return found


def _is_image(name: str) -> bool:
  return pathlib.PurePath(name).suffix.lower() in SUFFIXES


def _matches(flag: str, name: str, folders: bool) -> list[pathlib.Path]:
  """Finds the files of a path or a glob."""
  path = files.expanded(name)
  if path.is_dir() and not folders:
    raise ValueError(f"--{flag}: {path} is a folder; want '{path}/*'")
  if path.exists():
    return [path]
  found = sorted(glob.glob(str(path), recursive=True))
  if not found:
    raise FileNotFoundError(f"--{flag}: no file matches {name!r}")
  return [pathlib.Path(match) for match in found]


def _parted(flag: str, text: str) -> list[str]:
  """Splits a text into values, including those of @FILEs."""
  try:
    rows = [*csv.reader([text], skipinitialspace=True, strict=True)]
  except csv.Error as error:
    raise ValueError(f"--{flag}={shown(text)}: {error}; {COMMAS}") from error
  found: list[str] = []
  for value in (value.strip() for row in rows for value in row):
    if value.startswith("@"):
      found += files.lines(files.read_text(files.expanded(value[1:])))
    elif value:
      found.append(value)
  return found
