"""Bad records: counted, named, and too many of them refused."""

import threading

from absl import logging

# Below so many examples a share says nothing.
LEAST = 2_000


class TooManyFaults(RuntimeError):
  """More bad records than a run puts up with."""


class Faults:
  """A count of bad records that the loader's threads share.

  Attributes:
    bad: bad records met so far; one is met once an epoch.
  """

  def __init__(self, limit: float):
    """Args: limit: share of the examples that may be bad, in [0, 1]."""
    self.bad = 0
    self._limit = limit
    self._seen = 0
    self._lock = threading.Lock()

  def seen(self, count: int) -> None:
    """Counts examples asked for."""
    with self._lock:
      self._seen += count

  def add(self, name: str, error: Exception) -> None:
    """Counts and logs a bad record.

    Args:
      name: the record's shard and key.
      error: what is wrong with it.

    Raises:
      TooManyFaults: they pass the limit.
    """
    with self._lock:
      self.bad += 1
      bad, seen = self.bad, self._seen
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
