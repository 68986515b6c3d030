"""Images of a data set to embeddings: threads decode ahead of the encoder."""

import collections
import concurrent.futures
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float32
from PIL import Image

from hyperclip_jax.data.images import Pixels
from hyperclip_jax.evals import Model
from hyperclip_jax.inputs import THREADS, decode_file
from hyperclip_jax.inputs import decode as decode
from hyperclip_jax.progress import bar

CHUNK = 64  # Images in one call of the encoder: a batch of HyperCLIP.
AHEAD = 4  # Groups that are read while one is encoded.

S = TypeVar("S")
T = TypeVar("T")


def encode_files(
  model: Model,
  paths: Sequence[pathlib.Path],
  square: Callable[[Pixels, int], Pixels],
) -> Float32[np.ndarray, "images dim"]:
  """Lifted embeddings of image files.

  Args:
    model: the model.
    paths: one or more.
    square: `images.center_square` or `squash`.

  Raises:
    ImageError: a file is no image, or too large; the message names it.
    OSError: it cannot be read.
  """

  def read(number: int) -> Pixels:
    return square(decode_file(paths[number]), model.image_size)

  return encode(model, len(paths), read)


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
  groups = chunks(count)
  ready = bar(ahead(groups, read), "images", len(groups))
  return np.concatenate([model.encode_image(chunk) for chunk in ready])


def chunks(count: int) -> list[range]:
  """The numbers from 0 to count - 1 in chunks of CHUNK."""
  return [
    range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)
  ]


def ahead(
  groups: Iterable[Sequence[S]], read: Callable[[S], T]
) -> Iterator[list[T]]:
  """Yields what `read` makes of each group; threads work on the next ones."""
  left = iter(groups)
  coming: collections.deque[list[concurrent.futures.Future[T]]]
  coming = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:

    def submit(count: int) -> None:
      for group in itertools.islice(left, count):
        coming.append([pool.submit(read, item) for item in group])

    try:
      submit(AHEAD)
      while coming:
        ready = [future.result() for future in coming.popleft()]
        submit(1)
        yield ready
    except BaseException:  # Also of a caller that wants no more.
      pool.shutdown(cancel_futures=True)
      raise


def squash(image: Pixels, size: int) -> Pixels:
  """The whole image as a square, bicubic; its proportions are lost."""
  square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(square)
