"""Shards as one list of records, read in any order: a grain data source."""

import bisect
import glob
import itertools
import operator
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import SupportsIndex

from absl import logging

from hyperclip_jax.data import index as index_lib
from hyperclip_jax.data.index import Index
from hyperclip_jax.data.layouts import WANTED
from hyperclip_jax.data.record import BoxWatch, Record

# From so many tars without an index on, they are walked by several processes.
MANY = 64


def expand(patterns: str | Sequence[str]) -> list[str]:
  """Expands paths and globs to a sorted list of distinct paths.

  Raises:
    FileNotFoundError: a pattern matches nothing.
  """
  paths = set()
  for pattern in [patterns] if isinstance(patterns, str) else patterns:
    pattern = os.path.expanduser(pattern)
    exists = os.path.exists(pattern)  # a real name may hold a `[` or a `*`
    found = [pattern] if exists else glob.glob(pattern, recursive=True)
    if not found:
      raise FileNotFoundError(
        f"no file matches {pattern!r}; want a tar or a glob such as "
        f"'DIR/*.tar', relative to {os.getcwd()!r} unless absolute"
      )
    paths.update(found)
  return sorted(paths)


class TarSource:
  """The complete records of many tars, by number: a grain data source.

  Raw GRIT, HyCoCLIP's processed shards and prepared ones are told apart by
  their members' names. Thread-safe, and picklable with its index.

  Attributes:
    skipped: why each tar that was left out was, by its path.
  """

  def __init__(
    self,
    paths: Sequence[str],
    min_side: int = 32,
    *,
    skip_bad: bool = False,
    index_folder: str = "",
  ):
    """Opens or makes the indices of the tars.

    Args:
      paths: the tars; records are numbered in this order (see `expand`).
      min_side: smallest side of a raw record's box in pixels.
      skip_bad: leave out tars that are damaged or cannot be read, whole.
      index_folder: for the index files; beside the tars if empty.

    Raises:
      ValueError: a tar is damaged or of an unknown layout, or all are empty.
      OSError: a tar cannot be read.
    """
    self._min_side = min_side
    self._boxes = BoxWatch()
    self.skipped: dict[str, str] = {}
    self._shards: list[Index] = []
    for path, found in zip(paths, _indices(paths, index_folder), strict=True):
      if isinstance(found, Index):
        self._shards.append(found)
      elif not skip_bad:
        raise found
      else:
        self.skipped[path] = str(found)
        logging.warning("left out: %s", found)
    self._ends = list(itertools.accumulate(map(len, self._shards)))
    if not len(self):
      raise ValueError(
        f"no complete record in {len(paths)} tars ({', '.join(paths[:3])}); "
        f"want {WANTED}"
      )

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Reads a record.

    Raises:
      RecordError: this record is malformed.
      OSError: its bytes cannot be read.
    """
    shard, row = self._locate(operator.index(index))
    key, members = shard.read(row)
    record = shard.layout.parse(shard.path, key, members, self._min_side)
    self._boxes.see(record, shard.path)
    return record

  def name(self, number: int) -> str:
    """The shard of a record and its place there, for messages."""
    shard, row = self._locate(number)
    try:
      return f"{shard.path}: record {shard.key(row)!r}"
    except OSError:
      return f"{shard.path}: record {row}"

  def _locate(self, number: int) -> tuple[Index, int]:
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    which = bisect.bisect_right(self._ends, number)
    shard = self._shards[which]
    return shard, number - self._ends[which] + len(shard)

  def __repr__(self) -> str:
    first = self._shards[0].path
    return (
      f"TarSource({len(self)} records in {len(self._shards)} tars from "
      f"{first!r}, min_side={self._min_side})"
    )


def _indices(
  paths: Sequence[str], folder: str
) -> list[Index | ValueError | OSError]:
  """The index of each tar, or what is wrong with it."""
  missing = [p for p in paths if index_lib.cached(p, folder) is None]
  if len(missing) >= MANY:
    count = os.cpu_count() or 1
    logging.warning("indexing %d tars by %d processes", len(missing), count)
    command = [sys.executable, "-m", index_lib.__name__, "--folder", folder]
    workers = [
      subprocess.Popen([*command, *missing[i::count]]) for i in range(count)
    ]
    for worker in workers:
      worker.wait()  # what it could not do is found out below
  return [_index(path, folder) for path in paths]


def _index(path: str, folder: str) -> Index | ValueError | OSError:
  try:
    return index_lib.load(path, folder)
  except (ValueError, OSError) as error:
    return error
