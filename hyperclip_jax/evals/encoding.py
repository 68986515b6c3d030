"""Encodes the images of a data set, split over processes."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32
from PIL import Image

from hyperclip_jax.data.records.images import ImageError, Pixels
from hyperclip_jax.evals import processes
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
  # The last ones may have fewer or none, but all encode as many.
  mine = [items[min(i, len(items) - 1)] for i in range(start, start + each)]
  return np.concatenate(processes.rows(encode(mine)))[: len(items)]


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

  def read(number: int) -> tuple[Pixels, None]:
    return square(decode_file(paths[number]), model.image_size), None

  found = encode(model, len(paths), read)
  left_out = {
    paths[number]: reason.removeprefix(f"{paths[number]}: ")
    for number, reason in found.left_out.items()
  }
  return found.embeddings, found.numbers, left_out


class Encoded(NamedTuple):
  """Images that could be read.

  Attributes:
    embeddings: float32 (good, dim), in the order of the numbers.
    numbers: number of each.
    notes: what else was read of each.
    left_out: reason for each other number.
  """

  embeddings: np.ndarray
  numbers: list[int]
  notes: list[Any]
  left_out: dict[int, str]


def encode(
  model: Model, count: int, read: Callable[[int], tuple[Pixels, Any]]
) -> Encoded:
  """Encodes the images numbered 0 to count - 1, without those that are bad.

  Every process must call this function: each reads and encodes a share, by the
  programs that one process would run, and all return the same.

  Args:
    model: model to encode with.
    count: number of images, the same on every process.
    read: function of an image's number, called from many threads. It returns
      pixels and a note, such as a label, which JSON can hold. The pixels should
      be squares of side `model.image_size`; images of other sizes are resized
      in one thread, which is slower. An ImageError or OSError leaves the image
      out.

  Returns:
    Embeddings and notes of the readable images.

  Raises:
    ValueError: no image can be read, or processes have other numbers of them.
    processes.Failed: another process failed.
  """

  def attempt(number: int) -> tuple[Pixels, Any] | str:
    try:
      return read(number)
    except (ImageError, OSError) as error:
      return str(error)

  groups = reading.groups(range(count), CHUNK)
  mine = processes.share(groups)
  rows, notes, bad = [], [], []
  ready = bar(reading.ahead(mine, attempt), "images", len(mine))
  for numbers, read_ones in zip(mine, ready, strict=True):
    found = [*zip(numbers, read_ones, strict=True)]
    bad += [(n, reason) for n, reason in found if isinstance(reason, str)]
    whole = [(n, one) for n, one in found if not isinstance(one, str)]
    if whole:
      rows.append(model.encode_image([pixels for _, (pixels, _) in whole]))
      notes += [(n, note) for n, (_, note) in whole]
  processes.agree("numbers of images", count)
  shares = processes.gather({"notes": notes, "bad": bad})
  left_out = dict(
    sorted((n, reason) for of in shares for n, reason in of["bad"])
  )
  if len(left_out) == count:
    first = f"; the first: {shown(left_out[0])}" if left_out else ""
    raise ValueError(f"none of {count:,} images can be read{first}")
  none = np.zeros((0, 0), np.float32)
  embeddings = processes.rows(np.concatenate(rows) if rows else none)
  noted = {n: note for of in shares for n, note in of["notes"]}
  order = np.argsort([*noted])
  numbers = sorted(noted)
  return Encoded(
    np.concatenate([part for part in embeddings if len(part)])[order],
    numbers,
    [noted[n] for n in numbers],
    left_out,
  )


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
