import gc
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from hyperclip_jax.data.feed.buffers import Buffers


def address(array):
  return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_view_is_gone():
  buffers = Buffers()
  array = buffers.empty((4, 1000), np.float32)
  assert (array.shape, array.dtype) == ((4, 1000), np.float32)
  where = address(array)
  view = array.reshape(-1)[10:20].view(np.uint8)[::2]
  del array
  gc.collect()
  assert address(buffers.empty((4, 1000), np.float32)) != where
  del view
  gc.collect()
  again = [buffers.empty((1000, 4), np.int32) for _ in range(2)]
  assert where in map(address, again)


@pytest.mark.parametrize("shape", [(0, 3), ()])
def test_empty_and_scalar(shape):
  assert Buffers().empty(shape, np.uint8).shape == shape


def test_a_device_array_keeps_its_values():
  """On a CPU the device may share the memory; then it holds it, too."""
  buffers = Buffers()
  array = buffers.empty((1 << 16,), np.float32)
  array[:] = 1
  on_device = jax.device_put(array)
  del array
  for _ in range(3):
    gc.collect()
    buffers.empty((1 << 16,), np.float32)[:] = 2
  np.testing.assert_array_equal(on_device, 1)


def test_threads_never_share_memory():
  buffers = Buffers()

  def work(value):
    for _ in range(200):
      array = buffers.empty((256,), np.int64)
      array[:] = value
      if (array != value).any():
        return False
    return True

  with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(work, range(8)))
