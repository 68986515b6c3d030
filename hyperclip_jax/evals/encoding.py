"""Encodes the images of a data set, split over processes."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float32
from PIL import Image

from hyperclip_jax.data.records.images import ImageError, Pixels
from hyperclip_jax.files import shown
from hyperclip_jax.inference import reading
from hyperclip_jax.inference.inputs import decode_file
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.inference.protocol import Model

# Images in one call of a model. It fills the batches of eight devices, and does
# not depend on how many there are, so that the numbers do not either.
CHUNK = 512


def shared(
  encode: Callable[[Sequence[Any]], Float32[np.ndarray, "_ dim"]],
  items: Sequence[Any],
) -> Float32[np.ndarray, "n dim"]:
  """Encodes items with each process taking an equal share.

  Every process must call this function, with the same items.

  Args:
    encode: function from items to one row each, such as `Model.encode_image`.
    items: images or texts, at least one.

  Returns:
    Rows of all items, on every process.
  """
  if jax.process_count() == 1:
    return encode(items)
  each = -(-len(items) // jax.process_count())
  start = jax.process_index() * each
  # The last ones may have fewer or none, but all must give as many.
  mine = [items[min(i, len(items) - 1)] for i in range(start, start + each)]
  rows = multihost_utils.process_allgather(encode(mine), tiled=True)
  return np.asarray(rows)[: len(items)]


def encode_files(
  model: Model,
  paths: Sequence[pathlib.Path],
  square: Callable[[Pixels, int], Pixels],
) -> tuple[Float32[np.ndarray, "good dim"], list[int], dict[pathlib.Path, str]]:
  """Encodes image files, turned upright by their EXIF tag.

  Files that cannot be read as an image are left out.

  Args:
    model: model to encode with.
    paths: image files, at least one.
    square: function of an image and a side length in pixels that returns a
      square, such as `images.center_square` or `squash`.

  Returns:
    Embeddings of the readable images, the index in `paths` of each, and for
    each other path the reason why it was left out.

  Raises:
    ValueError: no image can be read; the message names the first.
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
  """Encodes the images numbered 0 to count - 1, without those that are bad.

  Args:
    model: model to encode with.
    count: number of images.
    read: function of an image's number that returns its pixels, called from
      many threads. It should return squares of side `model.image_size`; images
      of other sizes are resized in one thread, which is slower. An ImageError
      or OSError leaves the image out.

  Returns:
    Embeddings of the readable images, the number of each, and for each other
    number the reason why it was left out.

  Raises:
    ValueError: no image can be read; the message names the first.
  """

  def attempt(number: int) -> Pixels | str:
    try:
      return read(number)
    except (ImageError, OSError) as error:
      return str(error)

  groups = reading.groups(range(count), CHUNK)
  rows, good, bad = [], [], {}
  ready = bar(reading.ahead(groups, attempt), "images", len(groups))
  for numbers, read_ones in zip(groups, ready, strict=True):
    found = [*zip(numbers, read_ones, strict=True)]
    bad |= {n: reason for n, reason in found if isinstance(reason, str)}
    whole = {n: image for n, image in found if not isinstance(image, str)}
    if whole:
      rows.append(model.encode_image([*whole.values()]))
      good += whole
  if not good:
    first = f"; the first: {shown(bad[0])}" if bad else ""
    raise ValueError(f"none of {count:,} images can be read{first}")
  return np.concatenate(rows), good, bad


def squash(image: Pixels, size: int) -> Pixels:
  """Resizes an image to a square without keeping its aspect ratio.

  Args:
    image: uint8 pixels (height, width, 3).
    size: side of the square in pixels.

  Returns:
    Pixels of the whole image (size, size, 3), resized bicubically.
  """
  square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(square)
