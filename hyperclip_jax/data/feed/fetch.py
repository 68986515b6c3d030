"""The record of a draw, or the one that takes its place."""

from collections.abc import Callable
from typing import TypeVar

from hyperclip_jax.data.feed.faults import TooManyFaults
from hyperclip_jax.data.feed.views import ShowError
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.data.records.shards import TarSource

# So many records after a bad one are tried in its place.
TRIES = 100

T = TypeVar("T")


class Fetched:
  """A record; after one that is bad, the next of its source.

  Which one it is depends on the data alone: hosts stay in step, and a resumed
  run sees what an unbroken one would.
  """

  def __init__(
    self,
    source: TarSource,
    number: int,
    report: Callable[[str, Exception], None],
  ):
    """Reads the record.

    Args:
      source: the records.
      number: of the one wanted.
      report: (name, what is wrong with it), called for each bad record.

    Raises:
      TooManyFaults: a long run of bad records.
    """
    self._source = source
    self._first = number
    self._report = report
    self._tried = 0
    self._record = self._read()

  @property
  def name(self) -> str:
    """The shard and key of the record."""
    return self._source.name(self._number)

  def use(self, act: Callable[[Record], T]) -> T:
    """What a function makes of the record; if it raises, the record is bad.

    Raises:
      ShowError: as `act` does.
      TooManyFaults: a long run of bad records.
    """
    while True:
      try:
        return act(self._record)
      except ShowError:
        raise
      except Exception as error:  # whatever is wrong with its images
        self._bad(error)
      self._record = self._read()

  @property
  def _number(self) -> int:
    return (self._first + self._tried) % len(self._source)

  def _read(self) -> Record:
    while True:
      try:
        return self._source[self._number]
      except Exception as error:  # whatever is wrong with it, others are good
        self._bad(error)

  def _bad(self, error: Exception) -> None:
    name = self.name
    self._report(name, error)
    self._tried += 1
    if self._tried == TRIES:
      raise TooManyFaults(
        f"{TRIES} records in a row are bad, up to {name}: mend the shards "
        "(see docs/data.md)"
      )
