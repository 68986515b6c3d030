"""Memory for batches, used again: fresh pages cost a good part of decoding."""

import collections
import math
import weakref

import numpy as np
from numpy.typing import DTypeLike


class Buffers:
  """Hands out arrays, whose memory comes back once nobody holds them.

  Threads may share one.
  """

  def __init__(self):
    self._free: dict[int, list[np.ndarray]] = collections.defaultdict(list)

  def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of unset values, as `np.empty`."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
      return np.empty(shape, dtype)
    free = self._free[size]
    try:
      memory = free.pop()
    except IndexError:
      memory = np.empty(size, np.uint8)
    # Views of an array over a foreign buffer keep that array alive, however
    # deep they are: its end is the end of all of them.
    flat = np.frombuffer(memory.data, dtype)
    weakref.finalize(flat, free.append, memory).atexit = False
    return flat.reshape(shape)
