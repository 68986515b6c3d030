"""Bad records: counted, named, and too many of them refused."""

import threading

from absl import logging

from hyperclip_jax.data.records import storage

# Below so many examples a share says nothing.
LEAST = 2_000


class TooManyFaults(RuntimeError):
  """More bad records than a run allows."""


class Faults:
  """A count of bad records that the loader's threads share.

  Batches are made ahead, so bad records are counted by the positions of their
  examples: what a run has met by a position does not depend on how far ahead
  its loader is, nor on where the run was stopped and went on.
  """

  def __init__(self, limit: float, bad: int = 0, seen: int = 0):
    """Starts a count, or goes on with one.

    Args:
      limit: share of the examples that may be bad, in [0, 1].
      bad: bad records met before.
      seen: examples asked for before.
    """
    self._limit = limit
    self._before = bad  # at positions that `until` was asked about
    self._positions: list[int] = []  # of the others, one for each bad record
    self._seen = seen
    self._lock = threading.Lock()

  @property
  def bad(self) -> int:
    """Bad records met so far, in batches made ahead as well."""
    with self._lock:
      return self._before + len(self._positions)

  def until(self, position: int) -> int:
    """Bad records met by the examples before a position, from which on it goes.

    Args:
      position: one that is not before the last one asked about.
    """
    with self._lock:
      left = [p for p in self._positions if p >= position]
      self._before += len(self._positions) - len(left)
      self._positions = left
      return self._before

  def seen(self, count: int) -> None:
    """Counts examples asked for."""
    with self._lock:
      self._seen += count

  def add(self, position: int, name: str, error: Exception) -> None:
    """Counts and logs a bad record.

    Args:
      position: of the example that it was drawn for.
      name: the record's shard and key.
      error: what is wrong with it.

    Raises:
      TooManyFaults: they pass the limit.
      OSError: the process ran out of handles or memory; no record is to blame.
    """
    storage.raise_if_exhausted(error)
    with self._lock:
      self._positions.append(position)
      bad, seen = self._before + len(self._positions), self._seen
    logging.warning(
      "bad record %d, another takes its place: %s: %s: %s",
      bad,
      name,
      type(error).__name__,
      error,
    )
    if bad > self._limit * max(seen, LEAST):
      raise TooManyFaults(
        f"{bad} of the first {seen} examples were bad, the last {name}: "
        f"{error}. Mend the shards (see docs/data.md), or allow more by "
        f"config.data.max_bad, now {self._limit}"
      ) from error
