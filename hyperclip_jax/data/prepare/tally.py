"""Tallies: what `prepare` leaves out, by reason."""

from collections import Counter
from collections.abc import Sequence

from hyperclip_jax.data.records import box_forms
from hyperclip_jax.data.records.box_forms import Found


class BadInputError(ValueError):
  """An input that cannot be read to its end."""


class Tally:
  """How many records and boxes were left out, by reason.

  Attributes:
    records: reason -> records.
    boxes: reason -> boxes of records that were kept, or their phrases.
    examples: reason -> key of the first record left out for it.
    found: the first boxes, as they were found.
  """

  def __init__(self):
    """Creates a tally of nothing."""
    self.found: list[Found] = []
    self.records = Counter[str]()
    self.boxes = Counter[str]()
    self.examples: dict[str, str] = {}

  def reject(self, reason: str, key: str) -> None:
    """Counts a record."""
    self.records[reason] += 1
    self.examples.setdefault(reason, key)

  def look(self, found: Sequence[Found]) -> None:
    """Keeps the first boxes, which show their form together."""
    self.found += found[: box_forms.ENOUGH - len(self.found)]
