"""Files of the data sets: they may be missing."""

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


def unique(
  items: Sequence[Any],
) -> tuple[list[Any], Int[np.ndarray, "items"]]:
  """Each item once, and for each the row where it stands."""
  rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
  return list(rows), np.array([rows[item] for item in items], np.int64)
