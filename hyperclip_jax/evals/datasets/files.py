"""Checks that the files of a data set exist, and reads tables."""

import csv
import io
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from hyperclip_jax.evals.tasks import MissingData
from hyperclip_jax.files import read_text

T = TypeVar("T")


class Source(NamedTuple):
  """Where a data set comes from, and its layout; see `MissingData`."""

  name: str
  where: str
  layout: str


def require(paths: Iterable[pathlib.Path], source: Source) -> None:
  """Checks that files or folders exist.

  Args:
    paths: files or folders.
    source: data set that they belong to.

  Raises:
    MissingData: some do not exist; the message names the first and counts them.
  """
  absent = [path for path in paths if not path.exists()]
  if absent:
    others = f" ({len(absent):,} are missing)" if len(absent) > 1 else ""
    raise MissingData(*source, lacks=f"{absent[0]}{others}")


def parsed(
  path: pathlib.Path, parse: Callable[[Mapping[str, Any]], T], what: str
) -> list[T]:
  """Parses the rows of a CSV file with a header.

  Args:
    path: CSV file.
    parse: function of a row; it raises ValueError for a damaged one.
    what: what a row is, for the message.

  Returns:
    Parsed rows, at least one.

  Raises:
    ValueError: a row is damaged, and the message names the line; or there is
      none.
    OSError: the file cannot be read.
  """
  reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
  try:
    found = [parse(row) for row in reader]
  except (csv.Error, ValueError) as error:
    raise ValueError(
      f"{path}: line {reader.reader.line_num}: {error}"
    ) from error
  if not found:
    raise ValueError(f"{path}: no {what} after the header")
  return found


def unique(
  items: Sequence[Any],
) -> tuple[list[Any], Int[np.ndarray, "items"]]:
  """Removes duplicates.

  Args:
    items: hashable items.

  Returns:
    Each distinct item once, and for each of `items` its index among them.
  """
  rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
  return list(rows), np.array([rows[item] for item in items], np.int64)
