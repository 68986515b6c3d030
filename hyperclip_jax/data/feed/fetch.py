"""Fetches the record of a draw, or the one that replaces it."""

from collections.abc import Callable
from typing import TypeVar

from hyperclip_jax.data.feed.faults import TooManyFaults
from hyperclip_jax.data.feed.views import ShowError
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.data.records.shards import TarSource

# Number of bad records in a row that end the run.
TRIES = 100

T = TypeVar("T")


class Fetched:
  """A record, or the next good one of its source.

  The choice depends on the data only, so that hosts stay in step and a resumed
  run sees the same examples as an uninterrupted one.
  """

  def __init__(
    self,
    source: TarSource,
    number: int,
    report: Callable[[str, Exception], None],
  ):
    """Reads the record.

    Args:
      source: source of the records.
      number: number of the record.
      report: callback (name, error) for each bad record.

    Raises:
      TooManyFaults: `TRIES` records in a row are bad.
    """
    self._source = source
    self._first = number
    self._report = report
    self._tried = 0
    self._record = self._read()

  @property
  def name(self) -> str:
    """Shard and key of the record."""
    return self._source.name(self._number)

  def use(self, act: Callable[[Record], T]) -> T:
    """Applies a function to the record; if it raises, the record is bad.

    Args:
      act: function of the record.

    Returns:
      Result for the first record that is good.

    Raises:
      ShowError: raised by `act`.
      TooManyFaults: `TRIES` records in a row are bad.
    """
    while True:
      try:
        return act(self._record)
      except ShowError:
        raise
      except Exception as error:  # any fault of its images
        self._bad(error)
      self._record = self._read()

  @property
  def _number(self) -> int:
    return (self._first + self._tried) % len(self._source)

  def _read(self) -> Record:
    while True:
      try:
        return self._source[self._number]
      except Exception as error:  # any fault of this record
        self._bad(error)

  def _bad(self, error: Exception) -> None:
    name = self.name
    self._report(name, error)
    self._tried += 1
    if self._tried == TRIES:
      raise TooManyFaults(
        f"{TRIES} records in a row are bad, up to {name}: repair the shards "
        "(see docs/data.md)"
      )
