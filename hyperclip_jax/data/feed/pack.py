"""Packs the parts of a batch into arrays, with texts, crops and seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from hyperclip_jax.data.feed import views as views_lib
from hyperclip_jax.data.feed.place import Pictures
from hyperclip_jax.data.feed.tokenizer import AnyTokenizer, cut
from hyperclip_jax.data.feed.views import Shown, View, Views
from hyperclip_jax.data.records import images

Leaves = dict[str, np.ndarray]


def pack(
  views: Views,
  shown: Sequence[Mapping[str, Shown]],
  pictures: Mapping[str, Pictures],
  random: Float64[np.ndarray, "examples draws"],
  tokenizer: AnyTokenizer,
) -> dict[str, Leaves]:
  """Makes the leaves of a batch, with the shapes listed in `views`.

  Args:
    views: views of the batch.
    shown: parts and extra numbers of each example, by view.
    pictures: decoded pictures of each view that decodes its own.
    random: numbers in [0, 1), as many as all views draw.
    tokenizer: tokenizer of the system.

  Returns:
    Leaves of each view.
  """
  batch, start = {}, 0
  for name, view in views.items():
    rows = [example[name] for example in shown]
    leaves: Leaves = {}
    if name in pictures:
      leaves["image"] = pictures[name].pixels
    if view.crop is not None:
      stop = start + views_lib.draws(view)
      regions = pictures[view.canvas or name].region
      leaves |= _crops(view, view.crop, regions, random[:, start:stop])
      start = stop
    if view.lengths is not None:
      texts = _filled(([part.text for part in row.parts] for row in rows), view)
      leaves["text"] = cut(tokenizer(texts, view.lengths[-1]), view.lengths)
    if view.count > 1:
      found = np.array([len(row.parts) for row in rows])
      valid = np.arange(view.count)[None] < found[:, None]
      leaves["valid"] = valid.reshape(-1)
    for extra, dtype in view.extra.items():
      values = _filled((row.extra[extra] for row in rows), view)
      leaves[extra] = np.array(values, dtype)
    batch[name] = leaves
  return batch


def _crops(
  view: View,
  scale: tuple[float, float],
  regions: np.ndarray,
  random: np.ndarray,
) -> Leaves:
  """Makes the crop and the seed of each row from random numbers."""
  random = random.reshape(len(random) * view.count, -1)
  regions = np.repeat(regions, len(random) // len(regions), axis=0)
  return {
    "crop": images.random_resized_crops(random[:, 1:], regions, scale),
    "seed": (random[:, 0] * 2**32).astype(np.uint32),
  }


def _filled(values: Iterable[Sequence[Any]], view: View) -> list[Any]:
  """Lists one value per row; the last of an example fills its other rows."""
  if view.count == 1:
    return [value for (value,) in values]
  found = []
  for own in map(list, values):
    found += own + own[-1:] * (view.count - len(own))
  return found
