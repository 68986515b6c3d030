"""Reads ahead with threads while the devices encode."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

THREADS = min(16, os.cpu_count() or 1)
AHEAD = 256  # items read while others are encoded; at least one group

S = TypeVar("S")
T = TypeVar("T")


def groups(items: Sequence[S], size: int) -> list[Sequence[S]]:
  """Splits items, in order, into groups.

  Args:
    items: sequence, such as a list or a range.
    size: number of items in a group; the last may have fewer.

  Returns:
    Groups.
  """
  return [items[start : start + size] for start in range(0, len(items), size)]


def ahead(
  groups: Iterable[Sequence[S]], read: Callable[[S], T]
) -> Iterator[list[T]]:
  """Reads items in threads, ahead of the caller.

  Args:
    groups: groups of items, of any sizes.
    read: function of an item, called from `THREADS` threads. Its first error
      ends the iteration and is raised here.

  Yields:
    Results of `read` for each group, in order.
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
    except BaseException:  # including the end of an iteration by the caller
      pool.shutdown(cancel_futures=True)
      raise
