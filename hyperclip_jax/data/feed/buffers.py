"""Reuses the memory of batches: fresh pages cost a good part of decoding."""

import collections
import math
import weakref

import numpy as np
from numpy.typing import DTypeLike


class Buffers:
  """Pool of array memory, reused once an array is no longer referenced.

  Threads may share a pool.
  """

  def __init__(self):
    self._free: dict[int, list[np.ndarray]] = collections.defaultdict(list)

  def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Makes an array with unset values, as `np.empty`.

    Args:
      shape: shape of the array.
      dtype: dtype of the array.

    Returns:
      Array; its memory returns to the pool when the array is deleted.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
      return np.empty(shape, dtype)
    free = self._free[size]
    try:
      memory = free.pop()
    except IndexError:
      memory = np.empty(size, np.uint8)
    # Views of an array over a foreign buffer keep that array alive, so its end
    # is the end of all of them.
    flat = np.frombuffer(memory.data, dtype)
    weakref.finalize(flat, free.append, memory).atexit = False
    return flat.reshape(shape)
