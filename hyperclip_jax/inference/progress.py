"""A progress bar for long work."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from tqdm import tqdm

QUIET = 4  # largest number of batches without a bar

T = TypeVar("T")


def bar(batches: Iterable[T], name: str, count: int) -> Iterator[T]:
  """Shows a progress bar, if there are many batches and a terminal.

  Args:
    batches: batches to work on.
    name: name of the work.
    count: number of batches.

  Returns:
    Iterator over the batches.
  """
  hidden = count <= QUIET or jax.process_index() > 0
  quiet = True if hidden else None  # None: only on a terminal
  whole = tqdm(batches, name, count, unit="batch", disable=quiet, leave=False)
  return iter(whole)
