"""Images of a data set to embeddings, and the share of each process."""

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

# Images in one call of a model. They fill the batches of eight devices; where
# there are fewer they are the same, so that the numbers are the same too.
CHUNK = 512


def shared(
  encode: Callable[[Sequence[Any]], Float32[np.ndarray, "_ dim"]],
  items: Sequence[Any],
) -> Float32[np.ndarray, "n dim"]:
  """Rows of all items, of which each process encodes its share.

  Every process must call it, with the same items.

  Args:
    encode: items -> a row each, such as `Model.encode_image`.
    items: images or texts, at least one.
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
    read: function of a number that returns the image's pixels, called from
      many threads. Ready squares of the model's size save the encoder's thread
      the work. An ImageError or OSError leaves the image out.

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
  """The whole image as a square, bicubic; its proportions are lost."""
  square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(square)
