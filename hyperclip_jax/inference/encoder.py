"""Encodes images and texts in batches, on the devices of this process.

XLA compiles a program for each shape, so only three batch sizes and three text
lengths are used, and other rows are padded. Inputs of more than one batch are
split over all devices, each of which runs the same program as a single device:
the results do not depend on their number.
"""

import functools
import hashlib
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

TEXT_LENGTHS = (16, 32)  # and the context length
# Batch sizes for few inputs, which are not worth padding to a full batch.
ONE, SOME, MOST_OF_SOME = 1, 8, 32
BATCH = 64  # default rows per device

Device = Any  # a jax.Device, which is no type for a type checker
Features = Float32[np.ndarray, "n dim"]


class EncodedFiles(NamedTuple):
  """Image files and their embeddings.

  Attributes:
    embeddings: one row for each file that could be read.
    names: paths of these files.
    left_out: reason for each other file, by its path.
  """

  embeddings: Features
  names: list[str]
  left_out: dict[str, str]


class BatchEncoder:
  """Encodes any number of images and texts in batches of a few sizes."""

  def __init__(
    self,
    encoder: Encoder,
    variables: Variables,
    devices: Sequence[Device],
    batch_size: int = BATCH,
  ):
    """Keeps the arguments; other devices get copies when needed.

    Args:
      encoder: towers of a system.
      variables: variables of the towers, on the first of the devices.
      devices: devices of this process.
      batch_size: largest number of rows on a device at once.

    Raises:
      TypeError: `batch_size` is not a whole number.
      ValueError: `batch_size` is not positive.
    """
    self._encoder, self._variables = encoder, variables
    self._devices = devices
    self._batch_size = inputs.whole("batch_size", batch_size)

  def images(self, images: Sequence[Any]) -> Features:
    """Encodes images as returned by `inputs.images`; a bad one is an error."""
    groups = reading.groups(images, self._rows(len(images)))
    if any(map(inputs.is_file, images)):
      squares = reading.ahead(groups, self._square)
    else:  # already decoded: threads would cost more than they gain
      squares = ([*map(self._square, group)] for group in groups)
    batches = bar(map(np.stack, squares), "images", len(groups))
    return self._encode(self._encoder.image, batches, len(images))

  def files(self, names: Sequence[str], images: Sequence[Any]) -> EncodedFiles:
    """Encodes the images that can be read, without lifting the features.

    Args:
      names: name of each image.
      images: images, as returned by `inputs.images`.

    Returns:
      Features and names of the good images, and the faults of the others.
    """
    kept: list[str] = []
    left_out: dict[str, str] = {}

    def read(number: int) -> Pixels | str:
      try:
        return self._square(images[number])
      except (OSError, ValueError) as error:
        return str(error)

    def good(group: Sequence[int], found: list[Pixels | str]) -> np.ndarray:
      pairs = [*zip((names[i] for i in group), found, strict=True)]
      left_out.update({name: x for name, x in pairs if isinstance(x, str)})
      kept.extend(name for name, x in pairs if not isinstance(x, str))
      return np.array([x for x in found if not isinstance(x, str)])

    groups = reading.groups(range(len(names)), self._rows(len(names)))
    squares = map(good, groups, reading.ahead(groups, read))
    batches = bar(squares, "images", len(groups))
    features = self._encode(self._encoder.image, batches, len(names))
    return EncodedFiles(features, kept, left_out)

  def texts(self, texts: Sequence[str]) -> Features:
    """Encodes texts; one warning counts those that were truncated."""
    context = self._encoder.context
    # One more column shows which texts do not fit: their end token moves there.
    # Padding may be end tokens, too.
    end = self.tokenizer.end
    tokens = self.tokenizer(texts, context + 1)
    ends = tokens[:, context - 1 :] == end
    over = np.flatnonzero(ends[:, 1] & ~ends[:, 0])
    tokens[over, context - 1] = end
    if len(over):
      warnings.warn(
        f"{len(over)} of {len(texts)} texts are longer than the {context} "
        f"tokens that the model reads and were truncated, such as "
        f"{shown(repr(texts[over[0]]), 60)}",
        stacklevel=3,
      )
    groups = self._alike(tokens[:, :context], self._lengths)
    rows = (cut(tokens[group, :context], self._lengths) for group in groups)
    batches = bar(rows, "texts", len(groups))
    found = self._encode(self._encoder.text, batches, len(texts))
    order = [number for group in groups for number in group]
    return found[np.argsort(order)]

  def warm_up(self) -> None:
    """Compiles the programs of all sizes and lengths, by encoding zeros."""
    side = self._encoder.image_size
    inputs_of = {
      self._encoder.image: [np.zeros((1, side, side, 3), np.uint8)],
      self._encoder.text: [np.zeros((1, n), np.int32) for n in self._lengths],
    }
    counts = (ONE, SOME, MOST_OF_SOME + 1, self._batch_size + 1)
    for count in {self._rows(count): count for count in counts}.values():
      for tower, rows in inputs_of.items():
        self._encode(tower, iter(rows), count)

  @property
  def _lengths(self) -> list[int]:
    """Lengths to which texts are padded."""
    context = self._encoder.context
    shorter = () if self._encoder.whole_context else TEXT_LENGTHS
    return [*(n for n in shorter if n < context), context]

  def _alike(
    self, tokens: Int[np.ndarray, "n context"], lengths: Sequence[int]
  ) -> list[Sequence[int]]:
    """Groups the indices of texts into batches.

    If there are several batches, texts of one length go together, so that one
    long text does not make others costly, and no result depends on other texts.
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
    """Returns the number of rows of the batches for `count` inputs."""
    if count <= ONE:
      return ONE
    if count <= MOST_OF_SOME:
      return min(SOME, self._batch_size)
    one = self._batch_size
    return one if count <= one else one * len(self._devices)

  def _encode(
    self,
    tower: Callable[..., jax.Array],
    batches: Iterator[np.ndarray],
    count: int,
  ) -> Features:
    """Encodes batches, of `count` rows or fewer in all.

    The next batch is read while one is computed, with at most two on the
    devices.
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
        parts.append(np.asarray(last[0])[: last[1]])  # waits for it
        last = out, len(rows)
    return np.concatenate([*parts, np.asarray(last[0])[: last[1]]])

  @functools.cached_property
  def tokenizer(self) -> AnyTokenizer:
    """Loaded with the first texts: images need none."""
    return self._encoder.tokenizer()

  @functools.cached_property
  def _everywhere(self) -> tuple[Variables, Callable[[np.ndarray], jax.Array]]:
    """Copies the variables to all devices.

    Returns:
      Variables, without a second copy on the first device, and a function that
      splits rows over the devices.
    """
    axis_types = (AxisType.Auto,)
    mesh = Mesh(np.array(self._devices), ("data",), axis_types=axis_types)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    copied = NamedSharding(mesh, PartitionSpec())
    variables = jax.device_put(self._variables, copied)
    return variables, lambda array: jax.device_put(array, rows)


def fingerprint(options: Any, variables: Variables) -> str:
  """Computes 16 hexadecimal digits from all that determines the embeddings.

  Options that only matter in training, such as `remat`, and the name of the
  system are left out.

  Args:
    options: `Options` of a system.
    variables: trained variables.

  Returns:
    The digits.
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
  """Applies a tower; uint8 pixels become [0, 1]. Compiled once per shape."""
  if x.dtype == jnp.uint8:
    x = x.astype(jnp.float32) / 255
  return tower(variables, x)
