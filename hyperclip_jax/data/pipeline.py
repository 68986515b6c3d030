"""From records to batches on the host: shuffle, pick a box, decode, tokenise.

The order of examples, the box of each and its augmentation are pure functions
of the seed and of the global position, so the state of the pipeline is one
number: the examples seen so far. Host h of H reads positions start + h,
start + h + H, and so on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from hyperclip_jax.data import images
from hyperclip_jax.data.boxes import WHOLE
from hyperclip_jax.data.record import Part, Record
from hyperclip_jax.data.shards import TarSource
from hyperclip_jax.data.tokenizer import Tokenizer

Example = dict[str, Any]


class MakeExample(grain.transforms.RandomMap):
  """A record and its generator -> arrays of static shape.

  image, box_image: uint8 (canvas, canvas, 3).
  image_crop, box_crop: float32 (4,), x0, y0, x1, y1 in canvas pixels.
  text, box_text: int32 (context,).
  distinct: whether the phrase is another text than the caption.

  Without `boxes` there is image, image_crop and text only.
  """

  def __init__(
    self,
    canvas: int,
    context: int,
    crop_scale: tuple[float, float],
    white_border: bool,
    boxes: bool,
  ):
    self._canvas = canvas
    self._context = context
    self._crop_scale = crop_scale
    self._white_border = white_border
    self._boxes = boxes
    self._tokenizer = Tokenizer()

  def random_map(self, element: Record, rng: np.random.Generator) -> Example:
    """Draws a crop of the image, and one part with a crop of its own."""
    record = element
    image = images.decode(record.image.read())
    canvas, crop = self._canvas_and_crop(image, rng)
    if not self._boxes:
      text = self._tokenizer([record.caption], self._context)[0]
      return {"image": canvas, "image_crop": crop, "text": text}

    # A record without a good box is its own part.
    parts = record.parts or (Part(record.caption, record.image, WHOLE),)
    part = parts[rng.integers(len(parts))]
    if part.image != record.image:
      image = images.decode(part.image.read())
    box_canvas, box_crop = self._canvas_and_crop(
      images.crop(image, part.box), rng
    )
    text, box_text = self._tokenizer([record.caption, part.text], self._context)
    return {
      "image": canvas,
      "image_crop": crop,
      "text": text,
      "box_image": box_canvas,
      "box_crop": box_crop,
      "box_text": box_text,
      "distinct": np.bool_((text != box_text).any()),
    }

  def _canvas_and_crop(self, image: np.ndarray, rng: np.random.Generator):
    canvas, region = images.fit(image, self._canvas, self._white_border)
    return canvas, images.random_resized_crop(rng, region, self._crop_scale)


def cut_texts(batch: Example, buckets: Sequence[int]) -> Example:
  """Cuts right padding to the shortest bucket that holds every text."""

  def cut(rows: np.ndarray) -> np.ndarray:
    longest = int((rows != 0).sum(axis=1).max())
    return rows[:, : next(b for b in buckets if b >= longest)]

  texts = [name for name in ("text", "box_text") if name in batch]
  return batch | {name: cut(batch[name]) for name in texts}


def batches(
  source: TarSource,
  transform: MakeExample,
  *,
  batch_size: int,
  seed: int,
  examples_seen: int,
  buckets: Sequence[int],
  threads: int,
  prefetch: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Example]:
  """Endless batches of this host, from a global position on.

  Args:
    source: the records.
    transform: makes their examples.
    batch_size: rows of this host's batches.
    seed: of the order, which differs every epoch, and of each example.
    examples_seen: global position to start from.
    buckets: static text lengths, ascending. Several hosts would have to agree
      on one at every step, so they all use the longest.
    threads: that read and decode.
    prefetch: batches made ahead.
    process_index: this host.
    process_count: of so many.
  """
  if process_count > 1:
    buckets = buckets[-1:]
  examples = (
    grain.MapDataset.source(source)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(transform)
  )
  local = examples[examples_seen + process_index :: process_count]
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=prefetch
  )
  return iter(
    local.batch(batch_size)
    .map(lambda batch: cut_texts(batch, buckets))
    .to_iter_dataset(options)
  )
