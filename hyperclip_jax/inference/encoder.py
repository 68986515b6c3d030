"""The towers on a device: images and texts to features, in batches.

XLA compiles a program for each size, so there are three sizes of a batch and
three lengths of a text, and the rows of others are padded.
"""

import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from hyperclip_jax.data.feed.tokenizer import Tokenizer, cut
from hyperclip_jax.data.records.images import Pixels, center_square
from hyperclip_jax.files import shown
from hyperclip_jax.inference import inputs
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.systems.dual_encoder import DualEncoder

TEXT_LENGTHS = (16, 32)  # and the context
# One thing is answered at once; some do not cost a whole batch.
ONE, SOME, MOST_OF_SOME = 1, 8, 32

Features = Float32[np.ndarray, "n dim"]


class EncodedFiles(NamedTuple):
  """Image files and their embeddings.

  Attributes:
    embeddings: one row for each file that could be read.
    names: their paths.
    left_out: the paths of the others, and why.
  """

  embeddings: Features
  names: list[str]
  left_out: dict[str, str]


class Encoder:
  """The two towers, with the host's side of them."""

  def __init__(
    self, model: DualEncoder, params: Any, image_size: int, batch_size: int
  ):
    """Keeps the arguments.

    Args:
      model: the towers.
      params: their parameters, on one device.
      image_size: side of the square the image tower reads, in pixels.
      batch_size: most rows computed at once.

    Raises:
      ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
      raise ValueError(f"batch_size is {batch_size}: give at least 1")
    self._model: Any = model
    self._params, self._image_size = params, image_size
    self._batch_size = batch_size
    self._tokenizer = Tokenizer(model.text.vocab)

  def images(self, images: Sequence[Any]) -> Features:
    """Features of images of `inputs.images`; the first bad one is an error."""
    with ThreadPoolExecutor(inputs.THREADS) as pool:
      # One by one what is there already, as threads cost more than they gain.
      each = pool.map if any(map(inputs.is_file, images)) else map

      def pixels(batch):
        return np.stack([*each(self._square, batch)])

      return self._encode(images, pixels, "encode_image")

  def files(self, paths: Sequence[str | os.PathLike]) -> EncodedFiles:
    """Features, not lifted, of the files that can be read."""
    kept: list[str] = []
    left_out: dict[str, str] = {}

    def read(path):
      try:
        return self._square(path)
      except (OSError, ValueError) as error:
        return str(error)

    with ThreadPoolExecutor(inputs.THREADS) as pool:

      def pixels(batch):
        names = [os.fspath(path) for path in batch]
        found = dict(zip(names, pool.map(read, batch), strict=True))
        left_out.update({k: v for k, v in found.items() if isinstance(v, str)})
        good = [name for name in names if name not in left_out]
        kept.extend(good)
        return np.array([found[name] for name in good])

      features = self._encode(paths, pixels, "encode_image")
    return EncodedFiles(features, kept, left_out)

  def texts(self, texts: Sequence[str]) -> Features:
    """Features of texts; one warning counts those that were cut."""
    context = self._model.text.context
    lengths = [*(n for n in TEXT_LENGTHS if n < context), context]
    long: list[str] = []

    def tokens(batch):
      # A column more shows what does not fit.
      rows = self._tokenizer(batch, context + 1)
      over = rows[:, context] != 0
      long.extend(
        text for text, is_long in zip(batch, over, strict=True) if is_long
      )
      rows[over, context - 1] = self._tokenizer.end
      return cut(rows[:, :context], lengths)

    found = self._encode(texts, tokens, "encode_text")
    if long:
      warnings.warn(
        f"{len(long)} of {len(texts)} texts are longer than the {context} "
        f"tokens that the model reads and were cut, such as "
        f"{shown(repr(long[0]), 60)}",
        stacklevel=3,
      )
    return found

  def _square(self, image: Any) -> Pixels:
    return center_square(inputs.pixels(image), self._image_size)

  def _encode(
    self,
    items: Sequence[Any],
    to_array: Callable[[Sequence[Any]], np.ndarray],
    method: str,
  ) -> Features:
    """Batches of one size; `to_array` gives a row an item, or fewer.

    While one is computed the next is read: two at most are on the device.
    """
    size = min(self._batch_size, _bucket(len(items), self._batch_size))
    starts = range(0, len(items), size)
    apply = _apply(self._model, method)
    parts = [np.zeros((0, self._model.embed_dim), np.float32)]
    last: tuple[Any, int] = parts[0], 0
    for start in bar(starts, method, len(starts)):
      rows = to_array(items[start : start + size])
      if len(rows):
        padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        out = apply(self._params, np.pad(rows, padding))
        parts.append(np.asarray(last[0])[: last[1]])  # Waits for it.
        last = out, len(rows)
    return np.concatenate([*parts, np.asarray(last[0])[: last[1]]])


def fingerprint(model: Any, params: Any, image_size: int) -> str:
  """16 hexadecimal digits, of all that a model's embeddings depend on.

  The parameters, and what their shapes do not say. How a model computes, such
  as `remat`, does not count, nor does its name.

  Args:
    model: the Flax module.
    params: its parameters.
    image_size: side of the square the image tower reads, in pixels.
  """
  towers = (model.vision, model.text)
  rest = [
    image_size,
    model.hyperbolic,
    *(tower.heads for tower in towers),
    *(jnp.dtype(tower.dtype).name for tower in towers),
    *(float(number) for number in (*model.pixel_mean, *model.pixel_std)),
  ]
  found = hashlib.sha256(repr(rest).encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    array = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    found.update(f"{name} {array.shape} {array.dtype}".encode())
    found.update(array.tobytes())
  return found.hexdigest()[:16]


def _bucket(count: int, most: int) -> int:
  """The size of the batches that so many rows are computed in."""
  if count <= ONE:
    return ONE
  return SOME if count <= MOST_OF_SOME else most


@functools.cache
def _apply(model: Any, method: str) -> Callable[..., jax.Array]:
  """One jitted function a model and method; uint8 pixels become [0, 1]."""

  def apply(params, x):
    if x.dtype == jnp.uint8:
      x = x.astype(jnp.float32) / 255
    return model.apply({"params": params}, x, method=method)

  return jax.jit(apply)
