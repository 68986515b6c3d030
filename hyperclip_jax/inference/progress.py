"""A progress bar on long work."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from tqdm import tqdm

QUIET = 4  # batches that go without one

T = TypeVar("T")


def bar(batches: Iterable[T], name: str, count: int) -> Iterator[T]:
  """The batches, with a bar where they are many and somebody watches.

  Args:
    batches: what is worked on.
    name: of the work.
    count: of batches.
  """
  hidden = count <= QUIET or jax.process_index() > 0
  quiet = True if hidden else None  # None: on a terminal alone
  whole = tqdm(batches, name, count, unit="batch", disable=quiet, leave=False)
  return iter(whole)
