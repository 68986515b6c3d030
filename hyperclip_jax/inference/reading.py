"""Threads that read what the devices encode next."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

THREADS = min(16, os.cpu_count() or 1)
AHEAD = 256  # items that are read while others are encoded, or one group

S = TypeVar("S")
T = TypeVar("T")


def groups(items: Sequence[S], size: int) -> list[Sequence[S]]:
  """Splits items, in their order, into groups of `size`; the last may be less.

  Args:
    items: anything that can be sliced, such as a list or a range.
    size: items of a group.
  """
  return [items[start : start + size] for start in range(0, len(items), size)]


def ahead(
  groups: Iterable[Sequence[S]], read: Callable[[S], T]
) -> Iterator[list[T]]:
  """Yields `read` of each item, group by group, in their order.

  Threads read the next groups while the caller works on one.

  Args:
    groups: groups of items, of any sizes.
    read: function of an item, called from `THREADS` threads. Its first error
      ends the iteration and is raised here.
  """
  left = iter(groups)
  coming: collections.deque[list[concurrent.futures.Future[T]]]
  coming = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:

    def submit() -> None:
      while sum(map(len, coming)) < AHEAD:
        group = next(left, None)
        if group is None:
          return
        coming.append([pool.submit(read, item) for item in group])

    try:
      submit()
      while coming:
        ready = [future.result() for future in coming.popleft()]
        submit()
        yield ready
    except BaseException:  # also of a caller that wants no more
      pool.shutdown(cancel_futures=True)
      raise
