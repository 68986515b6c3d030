"""Counts and logs bad records, and stops a run that has too many."""

import threading

from absl import logging

from hyperclip_jax.data.records import storage
from hyperclip_jax.files import shown

# Smallest number of examples for which a fraction is meaningful.
LEAST = 2_000


class TooManyFaults(RuntimeError):
  """Raised when there are more bad records than a run allows."""


class Faults:
  """Counter of bad records, shared by the threads of the loader.

  Batches are made ahead, so bad records are counted by the positions of their
  examples. The count up to a position then depends neither on how far ahead the
  loader is, nor on where the run was interrupted.
  """

  def __init__(self, limit: float, bad: int = 0, seen: int = 0):
    """Starts or resumes a count.

    Args:
      limit: fraction of examples that may be bad.
      bad: number of bad records before.
      seen: number of examples before.
    """
    self._limit = limit
    self._before = bad  # before the last position of `until`
    self._positions: list[int] = []  # of all later bad records
    self._seen = seen
    self._lock = threading.Lock()

  @property
  def bad(self) -> int:
    """Number of bad records so far, including batches made ahead."""
    with self._lock:
      return self._before + len(self._positions)

  def until(self, position: int) -> int:
    """Counts the bad records of all examples before a position.

    Args:
      position: position, not before that of the last call.
    """
    with self._lock:
      left = [p for p in self._positions if p >= position]
      self._before += len(self._positions) - len(left)
      self._positions = left
      return self._before

  def seen(self, count: int) -> None:
    """Adds to the number of examples."""
    with self._lock:
      self._seen += count

  def add(self, position: int, name: str, error: Exception) -> None:
    """Counts and logs a bad record.

    Args:
      position: position of the example that it was drawn for.
      name: shard and key of the record.
      error: fault of the record.

    Raises:
      TooManyFaults: there are more bad records than allowed.
      OSError: the process ran out of file handles or memory, which is not the
        fault of a record.
    """
    storage.raise_if_exhausted(error)
    name, reason = shown(name), f"{type(error).__name__}: {shown(error)}"
    with self._lock:
      self._positions.append(position)
      bad, seen = self._before + len(self._positions), self._seen
    logging.warning(
      "bad record %d, replaced by another: %s: %s",
      bad,
      name,
      reason,
    )
    if bad > self._limit * max(seen, LEAST):
      raise TooManyFaults(
        f"{bad} of the first {bad + seen} examples were bad, the last {name}: "
        f"{reason}. Repair the shards (see docs/data.md), or allow more with "
        f"config.data.max_bad, now {self._limit}"
      ) from error
