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

from hyperclip_jax.data.records.images import ImageError, Pixels
from hyperclip_jax.files import shown
from hyperclip_jax.inference.inputs import THREADS, decode_file
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.inference.protocol import Model

CHUNK = 64  # Images in one call of the encoder: a batch of HyperCLIP.
AHEAD = 4  # Groups that are read while one is encoded.

S = TypeVar("S")
T = TypeVar("T")


def encode_files(
  model: Model,
  paths: Sequence[pathlib.Path],
  square: Callable[[Pixels, int], Pixels],
) -> tuple[Float32[np.ndarray, "good dim"], list[int], dict[pathlib.Path, str]]:
  """Lifted embeddings of image files, turned upright by their EXIF tag.

  A file that is no image or cannot be read is left out.

  Args:
    model: the model.
    paths: one or more.
    square: `images.center_square` or `squash`.

  Returns:
    The embeddings of the good images; for each, its place in `paths`; and why
    each of the others was left out, by its path.

  Raises:
    ValueError: none is good; the message names the first.
  """

  def read(number: int) -> Pixels:
    return square(decode_file(paths[number]), model.image_size)

  embeddings, good, bad = encode(model, len(paths), read)
  left_out = {
    paths[number]: reason.removeprefix(f"{paths[number]}: ")
    for number, reason in bad.items()
  }
  return embeddings, good, left_out


def encode(
  model: Model, count: int, read: Callable[[int], Pixels]
) -> tuple[Float32[np.ndarray, "good dim"], list[int], dict[int, str]]:
  """Lifted embeddings of the images 0 to count - 1, without bad ones.

  Args:
    model: the model.
    count: of images.
    read: the pixels of an image by its number; called from many threads. Ready
      squares of the model's size save the encoder's thread the work. An
      ImageError or OSError leaves the image out.

  Returns:
    The embeddings of the good images, their numbers, and why each of the others
    was left out, by its number.

  Raises:
    ValueError: none is good; the message names the first.
  """

  def attempt(number: int) -> Pixels | str:
    try:
      return read(number)
    except (ImageError, OSError) as error:
      return str(error)

  groups = chunks(count)
  rows, good, bad = [], [], {}
  ready = bar(ahead(groups, attempt), "images", len(groups))
  for numbers, chunk in zip(groups, ready, strict=True):
    found = [*zip(numbers, chunk, strict=True)]
    bad |= {n: reason for n, reason in found if isinstance(reason, str)}
    whole = {n: image for n, image in found if not isinstance(image, str)}
    if whole:
      rows.append(model.encode_image([*whole.values()]))
      good += whole
  if not good:
    first = f"; the first: {shown(bad[0])}" if bad else ""
    raise ValueError(f"none of {count:,} images can be read{first}")
  return np.concatenate(rows), good, bad


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
