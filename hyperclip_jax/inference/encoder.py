"""A system's towers on the local devices: images and texts to rows, in batches.

XLA compiles a program for each shape, so there are three sizes of a batch and
three lengths of a text, and the rows of others are padded. What does not fit
into one batch is split over all local devices, each of which runs the program
of one device: the numbers are the same, however many there are.
"""

import functools
import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, Int

from hyperclip_jax import sections
from hyperclip_jax.data.feed.tokenizer import AnyTokenizer, cut
from hyperclip_jax.data.records.images import Pixels, center_square
from hyperclip_jax.files import shown
from hyperclip_jax.inference import inputs, reading
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.systems.task import Encoder, Variables

TEXT_LENGTHS = (16, 32)  # and the context
# One thing is answered at once; some do not cost a whole batch.
ONE, SOME, MOST_OF_SOME = 1, 8, 32
BATCH = 64  # rows a device, unless another number is asked for

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


class BatchEncoder:
  """Encodes any number of images and texts in batches of a few sizes."""

  def __init__(
    self, encoder: Encoder, variables: Variables, batch_size: int = BATCH
  ):
    """Keeps the arguments; the other devices get no copy before it is needed.

    Args:
      encoder: towers of a system.
      variables: their variables, on the first local device.
      batch_size: most rows that a device computes at once.

    Raises:
      ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
      raise ValueError(f"batch_size is {batch_size}: give at least 1")
    self._encoder, self._variables = encoder, variables
    self._batch_size = batch_size

  def images(self, images: Sequence[Any]) -> Features:
    """Features of images of `inputs.images`; the first bad one is an error."""
    groups = reading.groups(images, self._rows(len(images)))
    if any(map(inputs.is_file, images)):
      squares = reading.ahead(groups, self._square)
    else:  # Threads cost more than they gain where the pixels are there.
      squares = ([*map(self._square, group)] for group in groups)
    batches = bar(map(np.stack, squares), "images", len(groups))
    return self._encode(self._encoder.image, batches, len(images))

  def files(self, paths: Sequence[str | os.PathLike]) -> EncodedFiles:
    """Features, not lifted, of the files that can be read."""
    kept: list[str] = []
    left_out: dict[str, str] = {}

    def read(path: str) -> Pixels | str:
      try:
        return self._square(path)
      except (OSError, ValueError) as error:
        return str(error)

    def good(group: Sequence[str], found: list[Pixels | str]) -> np.ndarray:
      pairs = [*zip(group, found, strict=True)]
      left_out.update({name: x for name, x in pairs if isinstance(x, str)})
      kept.extend(name for name, x in pairs if not isinstance(x, str))
      return np.array([x for x in found if not isinstance(x, str)])

    names = [os.fspath(path) for path in paths]
    groups = reading.groups(names, self._rows(len(names)))
    squares = map(good, groups, reading.ahead(groups, read))
    batches = bar(squares, "images", len(groups))
    features = self._encode(self._encoder.image, batches, len(names))
    return EncodedFiles(features, kept, left_out)

  def texts(self, texts: Sequence[str]) -> Features:
    """Features of texts; one warning counts those that were cut."""
    context = self._encoder.context
    # A column more shows what does not fit: its end token moves there. Padding
    # may be end tokens, too.
    end = self._tokenizer.end
    tokens = self._tokenizer(texts, context + 1)
    ends = tokens[:, context - 1 :] == end
    over = np.flatnonzero(ends[:, 1] & ~ends[:, 0])
    tokens[over, context - 1] = end
    if len(over):
      warnings.warn(
        f"{len(over)} of {len(texts)} texts are longer than the {context} "
        f"tokens that the model reads and were cut, such as "
        f"{shown(repr(texts[over[0]]), 60)}",
        stacklevel=3,
      )
    shorter = () if self._encoder.whole_context else TEXT_LENGTHS
    lengths = [*(n for n in shorter if n < context), context]
    groups = self._alike(tokens[:, :context], lengths)
    rows = (cut(tokens[group, :context], lengths) for group in groups)
    batches = bar(rows, "texts", len(groups))
    found = self._encode(self._encoder.text, batches, len(texts))
    order = [number for group in groups for number in group]
    return found[np.argsort(order)]

  def _alike(
    self, tokens: Int[np.ndarray, "n context"], lengths: Sequence[int]
  ) -> list[Sequence[int]]:
    """The numbers of the texts of each batch.

    Where there are full batches, those of one length go together. So one long
    text does not make others costly, and no number depends on the neighbours.
    """
    count = len(tokens)
    if count <= MOST_OF_SOME:
      alike = [[*range(count)]]
    else:
      ends = tokens.argmax(axis=1) + 1
      kinds = np.searchsorted(lengths, ends)
      numbers = range(len(lengths))
      alike = [np.flatnonzero(kinds == kind).tolist() for kind in numbers]
    size = self._rows(count)
    return [group for rows in alike for group in reading.groups(rows, size)]

  def _square(self, image: Any) -> Pixels:
    return center_square(inputs.pixels(image), self._encoder.image_size)

  def _rows(self, count: int) -> int:
    """The rows of the batches that so many are computed in."""
    if count <= ONE:
      return ONE
    if count <= MOST_OF_SOME:
      return min(SOME, self._batch_size)
    one = self._batch_size
    return one if count <= one else one * jax.local_device_count()

  def _encode(
    self,
    tower: Callable[..., jax.Array],
    batches: Iterator[np.ndarray],
    count: int,
  ) -> Features:
    """The rows of all batches, of which there are `count` or fewer.

    While one is computed the next is read: two at most are on the devices.
    """
    size = self._rows(count)
    variables, put = self._variables, np.asarray
    if size > self._batch_size:
      variables, put = self._everywhere
    parts = [np.zeros((0, self._encoder.width), np.float32)]
    last: tuple[Any, int] = parts[0], 0
    for rows in batches:
      if len(rows):
        padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        whole = np.pad(rows, padding) if len(rows) < size else rows
        out = _apply(tower, variables, put(whole))
        parts.append(np.asarray(last[0])[: last[1]])  # Waits for it.
        last = out, len(rows)
    return np.concatenate([*parts, np.asarray(last[0])[: last[1]]])

  @functools.cached_property
  def _tokenizer(self) -> AnyTokenizer:
    """Loaded with the first texts: images need none."""
    return self._encoder.tokenizer()

  @functools.cached_property
  def _everywhere(self) -> tuple[Variables, Callable[[np.ndarray], jax.Array]]:
    """The variables on all local devices, and what splits rows over them.

    The first device's copy is the one that is there already.
    """
    axis_types = (AxisType.Auto,)
    mesh = Mesh(np.array(jax.local_devices()), ("data",), axis_types=axis_types)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    copied = NamedSharding(mesh, PartitionSpec())
    variables = jax.device_put(self._variables, copied)
    return variables, lambda array: jax.device_put(array, rows)


def fingerprint(options: Any, variables: Variables) -> str:
  """16 hexadecimal digits, of all that a model's embeddings depend on.

  Options that matter in training alone, such as `remat`, do not count, nor does
  the name of the system.

  Args:
    options: a system's `Options`.
    variables: trained variables.
  """
  kept = sections.lasting(options)
  for name in sections.files(options):
    path = pathlib.Path(kept[name])
    if path.is_file():  # what it holds counts, not where it lies
      kept[name] = hashlib.sha256(path.read_bytes()).hexdigest()
  found = hashlib.sha256(repr(kept).encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    array = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    found.update(f"{name} {array.shape} {array.dtype}".encode())
    found.update(array.tobytes())
  return found.hexdigest()[:16]


@functools.partial(jax.jit, static_argnums=0)
def _apply(
  tower: Callable[..., jax.Array], variables: Variables, x: jax.Array
) -> jax.Array:
  """One program a tower and shape; uint8 pixels become [0, 1]."""
  if x.dtype == jnp.uint8:
    x = x.astype(jnp.float32) / 255
  return tower(variables, x)
