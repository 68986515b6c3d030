"""Checks that the files of a data set exist."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from hyperclip_jax.evals.tasks import MissingData


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
