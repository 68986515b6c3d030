"""Rates with standard errors and chance levels.

A measure NAME may come with NAME_se, its standard error, and NAME_chance, the
rate that guessing reaches. The errors reflect which images were drawn; the
spread between training runs is larger.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
  """Averages top-1 and top-5 accuracy over classes, with errors and chance.

  The standard error assumes that all classes are equally hard, and is too large
  where they are not: many classes have too few images for an error of their
  own.

  Args:
    hits: whether the k-th nearest class of each image is the right one.
    labels: class index of each image.
    classes: number of classes to choose from.

  Returns:
    top1 and top5, each with _se and _chance; numbers of images and classes.
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
  """Computes recall at k in both directions, with errors and chance.

  For the standard error all captions of one image count as one draw, since
  their hits are strongly correlated.

  Args:
    i2t: number of wrong captions ranked before the nearest right one, for each
      image.
    t2i: number of wrong images ranked before the right one, for each caption.
    ks: cut-offs k.
    owners: index of each caption's image.

  Returns:
    i2t_r{k} and t2i_r{k}, each with _se and _chance; numbers of images and
    texts.
  """
  images, texts = len(i2t), len(t2i)
  own = np.bincount(owners, minlength=images)
  found = {}
  for k in ks:
    found[f"i2t_r{k}"], found[f"i2t_r{k}{ERROR}"] = _clustered(
      i2t < k, np.arange(images)
    )
    # Probability that k of n captions, drawn without replacement, miss all m.
    draws = np.arange(min(k, texts))[:, None]
    misses = np.clip((texts - own - draws) / (texts - draws), 0, 1).prod(axis=0)
    found[f"i2t_r{k}{CHANCE}"] = float(np.mean(1 - misses))
  for k in ks:
    found[f"t2i_r{k}"], found[f"t2i_r{k}{ERROR}"] = _clustered(t2i < k, owners)
    found[f"t2i_r{k}{CHANCE}"] = min(k, images) / images
  return found | {"images": float(images), "texts": float(texts)}


def means(
  names: Sequence[str],
  rows: Float[np.ndarray, "rows names"],
  guessing: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, float]:
  """Averages each column, with standard errors.

  Args:
    names: name of each column.
    rows: measurements, one column for each name.
    guessing: what guessing reaches by name, where that is known.

  Returns:
    Mean of each column as NAME, its standard error as NAME_se, and what
    guessing reaches as NAME_chance where it is known.
  """
  mean = rows.mean(axis=0).tolist()
  error = (rows.std(axis=0) / np.sqrt(len(rows))).tolist()
  errors = {f"{n}{ERROR}": e for n, e in zip(names, error, strict=True)}
  chances = {f"{name}{CHANCE}": level for name, level in guessing.items()}
  return dict(zip(names, mean, strict=True)) | errors | chances


def halves(name: str, rate: float, count: int) -> dict[str, float]:
  """Adds error and chance to the rate of a choice between two.

  Args:
    name: name of the rate.
    rate: fraction of right choices.
    count: number of choices.

  Returns:
    NAME, NAME_se and NAME_chance, which is 0.5.
  """
  error = float(np.sqrt(max(rate * (1 - rate), 0) / count))
  return {name: rate, f"{name}{ERROR}": error, f"{name}{CHANCE}": 0.5}


def measured(results: Mapping[str, T]) -> dict[str, T]:
  """Selects the measures, without their errors, chance levels and counts."""
  return {
    name: value
    for name, value in results.items()
    if not name.endswith((ERROR, CHANCE))
    and name.rpartition("/")[2] not in COUNTS
  }


def proportion(
  name: str, right: Bool[np.ndarray, "n"], chance: float
) -> dict[str, float]:
  """Computes a share, with its error and chance.

  Args:
    name: name of the share.
    right: what counts.
    chance: share that guessing reaches.

  Returns:
    NAME, NAME_se and NAME_chance.
  """
  rate = float(np.mean(right))
  error = float(np.sqrt(rate * (1 - rate) / len(right)))
  return {name: rate, f"{name}{ERROR}": error, f"{name}{CHANCE}": chance}


def renamed(results: Mapping[str, float], ending: str) -> dict[str, float]:
  """Appends to the names of measures, before _se and _chance.

  Args:
    results: measures, with errors, chance levels and counts.
    ending: what to append, such as "_cosine".

  Returns:
    Measures with errors and chance levels; counts are left out.
  """
  return {
    f"{name}{ending}{kind}": results[f"{name}{kind}"]
    for name in measured(results)
    for kind in ("", ERROR, CHANCE)
    if f"{name}{kind}" in results
  }


def _clustered(
  hits: Bool[np.ndarray, "rows"], owners: Integer[np.ndarray, "rows"]
) -> tuple[float, float]:
  """Averages hits, with a standard error clustered by owner."""
  rate = float(np.mean(hits))
  apart = np.bincount(owners, hits) - rate * np.bincount(owners)
  return rate, float(np.sqrt(np.sum(apart**2)) / len(hits))
