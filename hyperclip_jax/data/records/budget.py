"""A share of memory for each of many threads, where one may need gigabytes."""

import contextlib
import threading
from collections.abc import Iterator


class Budget:
  """Bytes that the threads of a process may hold at one time."""

  def __init__(self, total: int):
    """Creates a budget of which nothing is taken."""
    self._total = total
    self._left = total
    self._returned = threading.Condition()

  @contextlib.contextmanager
  def taken(self, count: int) -> Iterator[None]:
    """Waits until so many bytes are left and holds them; all, if it is more.

    A thread that holds some must not ask for more: two could wait for ever.
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
