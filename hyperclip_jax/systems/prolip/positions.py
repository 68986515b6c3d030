"""Position tables of other lengths: longer texts, larger images (LongProLIP).

LongProLIP (Chun and Yun,
2025, arXiv 2503.08048) keeps the first rows, which are trained best.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax.systems.prolip.options import Options
from hyperclip_jax.systems.prolip.towers import OWN
from hyperclip_jax.systems.task import Variables

LONG, FIRST = 127, 20  # tables of more rows keep so many of the old ones


def resized(
  o: Options, variables: Variables, context: int, image_size: int
) -> tuple[Options, dict[str, Any]]:
  """Gives a model another context and another size of images.

  Args:
    o: options of the model.
    variables: its variables.
    context: number of tokens of its texts from now on.
    image_size: side of its images in pixels from now on.

  Returns:
    Options and variables; all parameters but position tables stay.

  Raises:
    ValueError: the patch does not divide the image size.
  """
  text = dataclasses.replace(o.text, context=context)
  changed = dataclasses.replace(o, text=text, image_size=image_size)
  params = {
    k: dict(v) if k in ("text", "vision") else v
    for k, v in variables["params"].items()
  }
  words = np.asarray(params["text"]["position_embed"])
  patches = np.asarray(params["vision"]["position_embed"])
  params["text"]["position_embed"] = of_words(words, context)
  side = image_size // o.vision.patch
  params["vision"]["position_embed"] = of_patches(patches, side)
  return changed, {**variables, "params": params}


def of_words(
  table: Float[np.ndarray, "old width"], context: int
) -> Float[np.ndarray, "new width"]:
  """Stretches the position table of a text tower.

  Rows of words are interpolated linearly, but for the first 20 of a long table;
  the last two, of UNC and CLS, stay. (The official code interpolates these two
  as well, where the new table has 127 rows or fewer.)

  Args:
    table: positions of words, UNC and CLS.
    context: new number of words.

  Returns:
    Positions of the new words, UNC and CLS.
  """
  words = len(table) - OWN
  first = FIRST if context + OWN > LONG and words > FIRST else 0
  if context == words:
    return table
  middle = _linear(table[first:words], context - first)
  return np.concatenate([table[:first], middle, table[words:]])


def _linear(
  table: Float[np.ndarray, "old width"], count: int
) -> Float[np.ndarray, "new width"]:
  """Interpolates rows at the centres of `count` equal parts of the table."""
  places = (np.arange(count) + 0.5) * len(table) / count - 0.5
  places = np.clip(places, 0, len(table) - 1)
  low = np.floor(places).astype(int)
  share = (places - low)[:, None].astype(table.dtype)
  high = np.minimum(low + 1, len(table) - 1)
  return (1 - share) * table[low] + share * table[high]


def of_patches(
  table: Float[np.ndarray, "old width"], side: int
) -> Float[np.ndarray, "new width"]:
  """Resizes the position table of an image tower.

  Patches are interpolated bicubically with antialiasing; the rows of CLS and
  UNC stay. (The official code takes fresh random ones.)

  Args:
    table: positions of CLS, UNC and the patches, row by row.
    side: new number of patches along a side.

  Returns:
    Positions of CLS, UNC and the new patches.
  """
  own, patches = table[:OWN], table[OWN:]
  old = round(len(patches) ** 0.5)
  if old == side:
    return table
  grid = patches.reshape(old, old, -1)
  found = jax.image.resize(
    jnp.asarray(grid), (side, side, grid.shape[-1]), "cubic"
  )
  return np.concatenate([own, np.asarray(found).reshape(side * side, -1)])
