"""Counts what `prepare` leaves out, by reason."""

from collections import Counter
from collections.abc import Sequence

from hyperclip_jax.data.records import box_forms
from hyperclip_jax.data.records.box_forms import Found


class BadInputError(ValueError):
  """An input that cannot be read to its end."""


class Tally:
  """Numbers of records and boxes left out.

  Attributes:
    records: reason -> number of records.
    boxes: reason -> number of boxes or phrases of records that were kept.
    examples: reason -> key of the first record left out for it.
    found: first boxes, as found.
  """

  def __init__(self):
    """Creates an empty tally."""
    self.found: list[Found] = []
    self.records = Counter[str]()
    self.boxes = Counter[str]()
    self.examples: dict[str, str] = {}

  def reject(self, reason: str, key: str) -> None:
    """Counts a rejected record.

    Args:
      reason: reason for the rejection.
      key: key of the record.
    """
    self.records[reason] += 1
    self.examples.setdefault(reason, key)

  def look(self, found: Sequence[Found]) -> None:
    """Keeps the first boxes, from which their form is inferred."""
    self.found += found[: box_forms.ENOUGH - len(self.found)]
