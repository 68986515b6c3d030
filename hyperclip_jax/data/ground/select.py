"""Chooses among the boxes of a detector, and writes them as rows of GRIT."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.data.ground import text
from hyperclip_jax.data.ground.text import Phrase, Span
from hyperclip_jax.data.records import boxes
from hyperclip_jax.data.records.boxes import Box


class Found(NamedTuple):
  """Boxes that a detector proposes in an image.

  Attributes:
    boxes: x1, y1, x2, y2 as fractions of the image; any floats.
    scores: score of each box for each phrase, from 0 to 1.
  """

  boxes: Float[np.ndarray, "boxes 4"]
  scores: Float[np.ndarray, "boxes phrases"]


class Limits(NamedTuple):
  """Which boxes are kept.

  Attributes:
    threshold: boxes of this score or less are dropped.
    nms_iou: overlap with a better box above which one is dropped.
    min_side: smallest side in pixels of the image.
  """

  threshold: float
  nms_iou: float = 0.5
  min_side: int = 32


class Pick(NamedTuple):
  """A box that was kept.

  Attributes:
    phrase: number of the phrase.
    box: box within the image.
    score: score of the box for the phrase.
  """

  phrase: int
  box: Box
  score: float


def picks(
  found: Found, size: tuple[int, int], limits: Limits, left_out: Counter[str]
) -> list[Pick]:
  """Chooses the boxes of an image, each for the phrase that fits it best.

  Boxes at or below the threshold are dropped, the others clipped, then those
  that are too small or outside dropped, and then overlapping ones whatever
  their phrases (non-maximum suppression over all boxes, as for GRIT). A second
  phrase for the same box would be dropped by that too.

  Args:
    found: boxes that the detector proposes.
    size: width and height of the image in pixels.
    limits: which boxes are kept.
    left_out: counts of dropped boxes by reason, which are increased; the many
      boxes below the threshold are not counted.

  Returns:
    Boxes by falling score; of equal scores, the detector's first comes first.
  """
  if not found.scores.size:
    return []
  scores = np.nan_to_num(found.scores, nan=-1.0)
  phrases, best = scores.argmax(axis=1), scores.max(axis=1)
  good = []
  for i in np.flatnonzero(best > limits.threshold):
    box = found.boxes[i].tolist()
    fault = boxes.fault(box, float(size[0]), float(size[1]), limits.min_side)
    if fault is None:
      good.append(Pick(int(phrases[i]), boxes.clipped(box), float(best[i])))
    else:
      left_out[fault] += 1
  good.sort(key=lambda pick: -pick.score)  # stable
  kept = suppress(
    np.array([pick.box for pick in good], float).reshape(-1, 4), limits.nms_iou
  )
  left_out["box overlaps a better one"] += len(good) - len(kept)
  return [good[i] for i in kept]


def suppress(
  ordered: Float[np.ndarray, "boxes 4"], iou: float
) -> Int[np.ndarray, " kept"]:
  """Drops each box that overlaps a kept one before it.

  Args:
    ordered: x1, y1, x2, y2 of boxes of positive area, the best first.
    iou: intersection over union above which a box is dropped.

  Returns:
    Numbers of the kept boxes, in order.
  """
  left = np.arange(len(ordered))
  areas = (ordered[:, 2:] - ordered[:, :2]).prod(axis=1)
  kept = []
  while len(left):
    first, left = left[0], left[1:]
    kept.append(first)
    low = np.maximum(ordered[left, :2], ordered[first, :2])
    high = np.minimum(ordered[left, 2:], ordered[first, 2:])
    common = (high - low).clip(min=0).prod(axis=1)
    left = left[common <= iou * (areas[left] + areas[first] - common)]
  return np.array(kept, int)


def rows(
  phrases: Sequence[Phrase], kept: Sequence[Pick], drop_contained: bool
) -> dict[str, list[list[float]]]:
  """Writes kept boxes as the lists of a raw GRIT record.

  Args:
    phrases: phrases of the caption.
    kept: boxes, by falling score.
    drop_contained: whether to leave out referring expressions that another one
      contains, as the paper says and the published data do not.

  Returns:
    `noun_chunks` and `ref_exps`: rows of [start, end, x1, y1, x2, y2, score].
    An expression takes over the boxes of its chunk.
  """
  spans = [phrases[pick.phrase].expression for pick in kept]
  keep = text.largest(spans) if drop_contained else [True] * len(spans)
  return {
    "noun_chunks": [_row(phrases[pick.phrase].chunk, pick) for pick in kept],
    "ref_exps": [
      _row(span, pick)
      for span, pick, wanted in zip(spans, kept, keep, strict=True)
      if wanted
    ],
  }


def _row(span: Span, pick: Pick) -> list[float]:
  return [float(span[0]), float(span[1]), *pick.box, pick.score]
