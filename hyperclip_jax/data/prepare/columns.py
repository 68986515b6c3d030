"""Reads boxes that img2dataset left in the parquet file beside a tar.

NNNNN.tar and NNNNN.parquet are joined on `key` if the JSONs of the tar have
neither of GRIT's lists.
"""

import functools
import importlib
import os
from collections.abc import Iterator
from typing import Any

from hyperclip_jax.data.prepare.tally import BadInputError
from hyperclip_jax.data.records import grit
from hyperclip_jax.data.records.record import RecordError

MAX_BYTES = 1 << 28  # limit on the columns when uncompressed
_ROWS = 16  # read at once


def beside(path: str) -> str:
  """Returns the path of a tar's parquet file, which need not exist."""
  return os.path.splitext(path)[0] + ".parquet"


class Columns:
  """Rows of a parquet file by key, read on first use."""

  def __init__(self, path: str):
    """Opens nothing yet.

    Args:
      path: parquet file, which need not exist.
    """
    self.path = path

  def joined(self, key: str, meta: dict[str, Any]) -> dict[str, Any]:
    """Adds the parquet row to a raw record that lacks GRIT's lists.

    Args:
      key: key of the record in its tar.
      meta: JSON of the record.

    Returns:
      Fields of the record.

    Raises:
      RecordError: the parquet file has no row for it.
      BadInputError: the parquet file cannot be read.
      ModuleNotFoundError: pyarrow is not installed.
    """
    if any(name in meta for name in grit.LISTS) or self._rows is None:
      return meta
    row = self._rows.get(key.rpartition("/")[2])
    if row is None:
      raise RecordError("no parquet row")
    return row | meta

  @functools.cached_property
  def _rows(self) -> dict[str, dict[str, Any]] | None:
    if not os.path.exists(self.path):
      return None
    try:
      parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
      raise ModuleNotFoundError(
        f"the boxes are in {self.path}, and pyarrow is not installed: "
        "pip install 'hyperclip-jax[prepare]'"
      ) from error
    try:
      with parquet.ParquetFile(self.path) as file:
        return dict(self._read(file))
    except Exception as error:  # pyarrow has many exception types
      raise BadInputError(f"{self.path}: cannot be read ({error})") from error

  def _read(self, file: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the key and the wanted columns of each row.

    Raises:
      ValueError: there is no key, or too much text: a dictionary of some
        kilobytes can expand to gigabytes.
    """
    names = set(file.schema_arrow.names)
    if "key" not in names:
      raise ValueError("no column 'key'")
    wanted = [n for n in ("key", "caption", *grit.LISTS) if n in names]
    left = MAX_BYTES
    for batch in file.iter_batches(_ROWS, columns=wanted):
      left -= batch.nbytes
      if left < 0:
        raise ValueError(f"more than {MAX_BYTES:,} bytes in {wanted}")
      for row in batch.to_pylist():
        yield str(row.pop("key")), row
