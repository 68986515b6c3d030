"""Files of the data sets: they may be missing, damaged or hostile."""

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from hyperclip_jax.evals.tasks import MissingData


class Source(NamedTuple):
  """Where a data set comes from, and its layout: see `MissingData`."""

  name: str
  where: str
  layout: str


def require(paths: Iterable[pathlib.Path], source: Source) -> None:
  """All must be there.

  Args:
    paths: files or folders.
    source: what they are part of.

  Raises:
    MissingData: names the first that is not, counts the others.
  """
  absent = [path for path in paths if not path.exists()]
  if absent:
    others = f" ({len(absent):,} are missing)" if len(absent) > 1 else ""
    raise MissingData(*source, lacks=f"{absent[0]}{others}")


def read_text(path: pathlib.Path) -> str:
  """The text of a UTF-8 file, or a ValueError that names it."""
  try:
    return path.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not UTF-8 text: {error}") from error


def read_json(path: pathlib.Path) -> Any:
  """The content of a JSON file, or a ValueError that names it."""
  text = read_text(path)
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not JSON: {error}") from error


def inside(folder: pathlib.Path, name: Any) -> pathlib.Path:
  """The path of a file that a data set names, which may not lead elsewhere.

  Args:
    folder: what the name is relative to.
    name: as found in the data.

  Raises:
    ValueError: the name is no text, empty, absolute or goes up.
  """
  parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
  if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
    raise ValueError(f"{name!r} is no file inside the data set")
  return folder.joinpath(*parts)


def unique(
  items: Sequence[Any],
) -> tuple[list[Any], Int[np.ndarray, "items"]]:
  """Each item once, and for each the row where it stands."""
  rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
  return list(rows), np.array([rows[item] for item in items], np.int64)
