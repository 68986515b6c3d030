"""Images of a data set to embeddings: threads decode ahead of the encoder."""

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Float32
from PIL import Image

from hyperclip_jax.data import images
from hyperclip_jax.data.images import Pixels
from hyperclip_jax.evals import Model

CHUNK = 64  # Images in one call of the encoder: a batch of HyperCLIP.
AHEAD = 4  # Chunks that are read while one is encoded.
THREADS = min(16, os.cpu_count() or 1)

T = TypeVar("T")


def encode(
  model: Model, count: int, read: Callable[[int], Pixels]
) -> Float32[np.ndarray, "images dim"]:
  """Lifted embeddings of the images 0 to count - 1.

  Args:
    model: the model.
    count: of images.
    read: the pixels of an image by its number; called from many threads. Ready
      squares of the model's size save the encoder's thread the work.
  """
  return np.concatenate(
    [model.encode_image(chunk) for chunk in ahead(count, read)]
  )


def ahead(count: int, read: Callable[[int], T]) -> Iterator[list[T]]:
  """Yields read(0), read(1), ... in chunks; threads work on the next ones."""
  starts = iter(range(0, count, CHUNK))
  coming: collections.deque[list[concurrent.futures.Future[T]]]
  coming = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:

    def submit(chunks: int) -> None:
      for start in itertools.islice(starts, chunks):
        numbers = range(start, min(start + CHUNK, count))
        coming.append([pool.submit(read, i) for i in numbers])

    try:
      submit(AHEAD)
      while coming:
        chunk = [future.result() for future in coming.popleft()]
        submit(1)
        yield chunk
    except BaseException:  # Also of a caller that wants no more.
      pool.shutdown(cancel_futures=True)
      raise


def squash(image: Pixels, size: int) -> Pixels:
  """The whole image as a square, bicubic; its proportions are lost."""
  square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(square)


def decode_file(path: str | os.PathLike[str]) -> Pixels:
  """The pixels of an image file.

  Raises:
    ImageError: it is no image, or too large; the message names the file.
    OSError: it cannot be read.
  """
  with open(path, "rb") as file:
    data = file.read()
  try:
    return images.decode(data)
  except images.ImageError as error:
    raise images.ImageError(f"{os.fspath(path)}: {error}") from error
