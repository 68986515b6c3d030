"""How published checkpoints of HyCoCLIP's successors differ from its own."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Published(NamedTuple):
  """Says what a checkpoint of HyCoCLIP's layout has of its own.

  A system whose official code derives from HyCoCLIP's has one as `published`.

  Attributes:
    mark: a name that only its checkpoints have.
    scalars: function of the options: official name of each scalar -> our name
      and row, or None for a scalar that is stored and not used.
    options: function of the names in a checkpoint and the width of embeddings:
      the options that they tell, beside sizes of towers.
  """

  mark: str
  scalars: Callable[[Any], dict[str, tuple[str, int | None] | None]]
  options: Callable[[Iterable[str], int], dict[str, Any]] = lambda *_: {}
