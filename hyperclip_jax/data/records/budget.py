"""Limits the memory that threads hold together."""

import contextlib
import threading
from collections.abc import Iterator


class Budget:
  """Number of bytes that the threads of a process may hold at one time."""

  def __init__(self, total: int):
    """Creates a budget.

    Args:
      total: number of bytes.
    """
    self._total = total
    self._left = total
    self._returned = threading.Condition()

  @contextlib.contextmanager
  def taken(self, count: int) -> Iterator[None]:
    """Context manager that waits for bytes to become free, and holds them.

    A thread must not take more while it holds some: two could deadlock.

    Args:
      count: number of bytes; at most the whole budget is taken.
    """
    count = min(count, self._total)
    with self._returned:
      self._returned.wait_for(lambda: self._left >= count)
      self._left -= count
    try:
      yield
    finally:
      with self._returned:
        self._left += count
        self._returned.notify_all()
