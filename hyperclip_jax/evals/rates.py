"""Rates with their standard errors, and what guessing would reach.

A measure NAME may be followed by NAME_se, its standard error, and NAME_chance,
the rate of a model that guesses. Errors are those of the images drawn: another
run of the training differs by more.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Integer

T = TypeVar("T")
ERROR = "_se"
CHANCE = "_chance"
COUNTS = ("images", "texts", "classes", "pairs", "records", "boxes")


def classified(
  hits: Bool[np.ndarray, "images nearest"],
  labels: Integer[np.ndarray, "images"],
  classes: int,
) -> dict[str, float]:
  """Accuracies averaged over classes, as `zero_shot` returns them.

  The error of a mean over classes takes all classes for equally hard, which is
  exact where they are and too large where they are not: many have too few
  images for an error of their own.

  Args:
    hits: whether the k-th nearest class of an image is the right one.
    labels: the class of each image.
    classes: number of classes to choose from.

  Returns:
    top1 and top5, each with _se and _chance; images and classes.
  """
  count = np.bincount(labels)
  present = count > 0
  draws = np.sum(1 / count[present]) / np.count_nonzero(present) ** 2
  found = {}
  for k in (1, 5):
    right = np.bincount(labels, hits[:, :k].any(axis=1))
    rate = float(np.mean(right[present] / count[present]))
    found[f"top{k}"] = rate
    found[f"top{k}{ERROR}"] = float(np.sqrt(max(rate * (1 - rate), 0) * draws))
    found[f"top{k}{CHANCE}"] = min(k, classes) / classes
  return found | {"images": float(len(labels)), "classes": float(classes)}


def retrieved(
  i2t: Integer[np.ndarray, "images"],
  t2i: Integer[np.ndarray, "texts"],
  ks: Sequence[int],
  owners: Integer[np.ndarray, "texts"],
) -> dict[str, float]:
  """Recalls at k, as `retrieval` returns them.

  Captions of one image count as one draw: where one is found, the others
  mostly are.

  Args:
    i2t: how many wrong captions lie before the nearest right one of an image.
    t2i: how many wrong images lie before the right one of a caption.
    ks: the cut-offs.
    owners: for each caption, the row of its image.

  Returns:
    i2t_r{k} and t2i_r{k}, each with _se and _chance; images and texts.
  """
  images, texts = len(i2t), len(t2i)
  own = np.bincount(owners, minlength=images)
  found = {}
  for k in ks:
    found[f"i2t_r{k}"], found[f"i2t_r{k}{ERROR}"] = _clustered(
      i2t < k, np.arange(images)
    )
    # Of n captions k are drawn, and none is one of the image's m.
    draws = np.arange(min(k, texts))[:, None]
    misses = np.clip((texts - own - draws) / (texts - draws), 0, 1).prod(axis=0)
    found[f"i2t_r{k}{CHANCE}"] = float(np.mean(1 - misses))
  for k in ks:
    found[f"t2i_r{k}"], found[f"t2i_r{k}{ERROR}"] = _clustered(t2i < k, owners)
    found[f"t2i_r{k}{CHANCE}"] = min(k, images) / images
  return found | {"images": float(images), "texts": float(texts)}


def means(
  names: Sequence[str], rows: Float[np.ndarray, "rows names"]
) -> dict[str, float]:
  """The mean of each column by its name, and its standard error by NAME_se."""
  mean = rows.mean(axis=0).tolist()
  error = (rows.std(axis=0) / np.sqrt(len(rows))).tolist()
  errors = {f"{n}{ERROR}": e for n, e in zip(names, error, strict=True)}
  return dict(zip(names, mean, strict=True)) | errors


def halves(name: str, rate: float, count: int) -> dict[str, float]:
  """The rate at which the better of two is chosen, with error and chance."""
  error = float(np.sqrt(max(rate * (1 - rate), 0) / count))
  return {name: rate, f"{name}{ERROR}": error, f"{name}{CHANCE}": 0.5}


def measured(results: Mapping[str, T]) -> dict[str, T]:
  """The measures alone, without errors, chance levels and counts."""
  return {
    name: value
    for name, value in results.items()
    if not name.endswith((ERROR, CHANCE))
    and name.rpartition("/")[2] not in COUNTS
  }


def _clustered(
  hits: Bool[np.ndarray, "rows"], owners: Integer[np.ndarray, "rows"]
) -> tuple[float, float]:
  """The share of hits, and its error where rows of one owner go together."""
  rate = float(np.mean(hits))
  apart = np.bincount(owners, hits) - rate * np.bincount(owners)
  return rate, float(np.sqrt(np.sum(apart**2)) / len(hits))
