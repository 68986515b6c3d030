"""From records to batches on the host: shuffle, pick boxes, decode, tokenise.

The order of examples, the boxes of each and its augmentation are pure functions
of the seed and of the global position, so the state of the pipeline is one
number: the examples seen so far. Host h of H reads positions start + h,
start + h + H, and so on.
"""

import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grain
import numpy as np

from hyperclip_jax.data.feed.buffers import Buffers
from hyperclip_jax.data.feed.faults import Faults, TooManyFaults
from hyperclip_jax.data.feed.order import Draw, Order
from hyperclip_jax.data.feed.tokenizer import Tokenizer, cut
from hyperclip_jax.data.feed.uniforms import uniforms
from hyperclip_jax.data.records import images, storage
from hyperclip_jax.data.records.boxes import WHOLE, Box
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.data.records.shards import TarSource

Batch = dict[str, Any]

_READERS = 16  # threads that look at records for their names

# So many records after a bad one are tried in its place.
TRIES = 100

_DRAWS = 1 + images.DRAWS  # random numbers of a picture: its seed and its crop


class Pictures(NamedTuple):
  """Room for the pictures of a batch.

  Attributes:
    pixels: uint8 (rows, canvas, canvas, 3).
    region: float32 (rows, 4), where a picture lies on its canvas.
  """

  pixels: np.ndarray
  region: np.ndarray


class MakeBatch:
  """Draws -> the arrays of a batch, B examples of static shapes.

  image: uint8 (B, canvas, canvas, 3).
  image_crop: float32 (B, 4), x0, y0, x1, y1 in canvas pixels.
  image_seed: uint32 (B,), of what the device draws for a picture.
  text: int32 (B, length), cut to a static length.

  With `parts` = K > 0 also, where row j is a part of example j // K:

  box_image, box_crop, box_seed, box_text: the same of B K rows.
  distinct: whether the phrase is another text than the caption; false where
    `valid` is.
  valid: whether the row is a part of its own; those after an example's last
    part show it again. Left out where K is 1.

  The record after a bad one takes its place, which is a function of the data
  alone: hosts stay in step, and a resumed run sees what an unbroken one would.
  """

  def __init__(
    self,
    sources: Sequence[TarSource],
    faults: Faults,
    *,
    canvas: int,
    context: int,
    text_lengths: Sequence[int],
    crop_scale: tuple[float, float],
    white_border: bool,
    parts: int,
    tokenizer: Tokenizer,
    upright: bool,
  ):
    """Args:
    sources: what the numbers of a draw speak of.
    faults: counts bad records.
    canvas: side of a picture in pixels.
    context: of texts, in tokens.
    text_lengths: what texts may be cut to, ascending to the context.
    crop_scale: least and greatest share of a picture that a crop keeps.
    white_border: pad pictures to squares with white.
    parts: rows for parts; a record with more gives a random choice of them.
    tokenizer: of the model's vocabulary.
    upright: turn images as EXIF says; boxes refer to them so.
    """
    self._sources = sources
    self._faults = faults
    self._canvas = canvas
    self._context = context
    self._text_lengths = text_lengths
    self._crop_scale = crop_scale
    self._white_border = white_border
    self._parts = parts
    self._tokenizer = tokenizer
    self._upright = upright
    self._buffers = Buffers()

  def __call__(self, draws: Sequence[Draw]) -> Batch:
    """Makes a batch.

    Raises:
      TooManyFaults: a long run of bad records, or too many in all.
    """
    count, parts = len(draws), self._parts
    keys = np.array([draw.seed for draw in draws])
    random = uniforms(keys, parts + (1 + parts) * _DRAWS)
    choices, random = random[:, :parts], random[:, parts:]

    self._faults.seen(count)
    candidates = [self._candidates(draw) for draw in draws]
    # Decoders are quicker one after the other than between readers.
    records = [next(found) for found in candidates]
    wholes, boxes = self._room(count), self._room(count * parts)
    captions, phrases, found = [], [], []
    for i, record in enumerate(records):
      while True:
        try:
          texts = self._fill(record, choices[i], wholes, boxes, i)
          break
        except Exception as error:  # whatever is wrong with its images
          record = candidates[i].throw(error)
      captions.append(record.caption)
      phrases += texts + texts[-1:] * (parts - len(texts))
      found.append(len(texts))

    text = self._tokenizer(captions, self._context)
    crop, seed = self._views(wholes, random[:, :_DRAWS])
    batch = {
      "image": wholes.pixels,
      "image_crop": crop,
      "image_seed": seed,
      "text": cut(text, self._text_lengths),
    }
    if not parts:
      return batch
    box_text = self._tokenizer(phrases, self._context)
    differs = (box_text != np.repeat(text, parts, axis=0)).any(axis=1)
    valid = (np.arange(parts)[None] < np.array(found)[:, None]).reshape(-1)
    crop, seed = self._views(boxes, random[:, _DRAWS:].reshape(-1, _DRAWS))
    batch |= {
      "box_image": boxes.pixels,
      "box_crop": crop,
      "box_seed": seed,
      "box_text": cut(box_text, self._text_lengths),
      "distinct": differs & valid,
    }
    return batch if parts == 1 else batch | {"valid": valid}

  def _room(self, rows: int) -> Pictures:
    side = self._canvas
    return Pictures(
      self._buffers.empty((rows, side, side, 3), np.uint8),
      np.empty((rows, 4), np.float32),
    )

  def _views(
    self, pictures: Pictures, random: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Draws the crop and the seed of each picture."""
    crop = images.random_resized_crops(
      random[:, 1:], pictures.region, self._crop_scale
    )
    return crop, (random[:, 0] * 2**32).astype(np.uint32)

  def _candidates(self, draw: Draw) -> Generator[Record, None, None]:
    """The record of a draw; after an error thrown in, the next that reads."""
    source = self._sources[draw.source]
    for attempt in range(TRIES):
      number = (draw.record + attempt) % len(source)
      try:
        yield source[number]
      except Exception as error:  # whatever is wrong with it, others are good
        self._faults.add(draw.seed[1], source.name(number), error)
    raise TooManyFaults(
      f"{TRIES} records in a row are bad, up to {source.name(number)}: mend "
      "the shards (see docs/data.md)"
    )

  def _fill(
    self,
    record: Record,
    choices: np.ndarray,
    wholes: Pictures,
    boxes: Pictures,
    row: int,
  ) -> list[str]:
    """Fills the room of example `row`; returns its phrases."""
    # Boxes are cut from the full size; the whole is shrunk to the canvas.
    least = 0 if self._parts else self._canvas
    image = self._place(record.image, WHOLE, wholes, row, least)
    if not self._parts:
      return []
    # A record without a good box is its own part.
    parts = record.parts or (Part(record.caption, WHOLE),)
    chosen = _choose(parts, choices)
    first = row * self._parts
    for i, part in enumerate(chosen, first):
      picture = image if part.crop is None else part.crop
      self._place(picture, part.box, boxes, i)
    for rows in boxes:
      rows[i + 1 : first + self._parts] = rows[i]
    return [part.text for part in chosen]

  def _place(
    self,
    image: bytes | images.Pixels,
    box: Box,
    pictures: Pictures,
    row: int,
    least: int = 0,
  ) -> images.Pixels:
    """Writes a box of an image to its row; returns all of the image."""
    canvas = pictures.pixels[row]
    if isinstance(image, bytes):
      image = images.decode(image, least, canvas, self._upright)
    pixels = image if box == WHOLE else images.crop(image, box)
    pictures.region[row] = images.fit(pixels, canvas, self._white_border)
    return image


def _choose(parts: Sequence[Part], choices: np.ndarray) -> list[Part]:
  """As many parts as there are numbers in [0, 1), at random, or all."""
  left = list(parts)
  picks = choices[: len(left)].tolist()
  return [left.pop(int(pick * len(left))) for pick in picks]


def names(
  sources: Sequence[TarSource],
  weights: Sequence[float],
  seed: int,
  positions: range,
  parts: int = 0,
) -> list[str]:
  """The shards and keys of the examples at some positions of the order.

  Records are read and decoded again, for another takes the place of a bad one:
  its name is followed by those of the bad ones.

  Args:
    sources: the records.
    weights: of each source, how often it is drawn from.
    seed: of the order.
    positions: of the examples.
    parts: parts of each example, as `MakeBatch` has it.
  """
  order = Order([len(source) for source in sources], weights, seed)
  draws = [order(position) for position in positions]
  keys = np.array([draw.seed for draw in draws]).reshape(-1, 2)
  choices = uniforms(keys, parts)
  with ThreadPoolExecutor(_READERS) as pool:
    return list(pool.map(lambda d, c: _name(sources, d, c), draws, choices))


def _name(sources: Sequence[TarSource], draw: Draw, choices: np.ndarray) -> str:
  """The name of the record that is seen for a draw, and of those in its way."""
  source, bad = sources[draw.source], []
  for attempt in range(TRIES):
    number = (draw.record + attempt) % len(source)
    try:
      record = source[number]
      chosen = _choose(record.parts, choices)
      for image in (record.image, *(part.crop for part in chosen)):
        if image is not None:
          images.decode(image)
    except Exception as error:  # as `MakeBatch` has it
      storage.raise_if_exhausted(error)
      bad.append(source.name(number))
    else:
      return ", in place of ".join([source.name(number), *bad])
  return bad[0]


def batches(
  sources: Sequence[TarSource],
  make: MakeBatch,
  *,
  weights: Sequence[float],
  batch_size: int,
  seed: int,
  examples_seen: int,
  threads: int,
  prefetch: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Endless batches of this host, from a global position on.

  Args:
    sources: the records; each is shuffled anew every epoch of its own.
    make: makes batches of their records.
    weights: of each source, how often it is drawn from.
    batch_size: rows of this host's batches.
    seed: of the order, which differs every epoch, and of each example.
    examples_seen: global position to start from.
    threads: that make batches, each one at a time.
    prefetch: batches made ahead.
    process_index: this host.
    process_count: of so many.
  """
  order = Order([len(source) for source in sources], weights, seed)

  def make_at(number: int) -> Batch:
    start = examples_seen + number * batch_size * process_count
    end = start + batch_size * process_count
    positions = range(start + process_index, end, process_count)
    return make([order(position) for position in positions])

  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=prefetch
  )
  endless = grain.MapDataset.range(sys.maxsize)
  return iter(endless.map(make_at).to_iter_dataset(options))
