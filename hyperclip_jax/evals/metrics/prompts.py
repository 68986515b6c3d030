"""Zero-shot accuracy by fewer, or by weighed, prompts of each class.

Prompts of ProLIP are Gaussians, which may be filtered by their uncertainty or
weighed by images (Chun et al., Probabilistic Language-Image Pre-Training,
2025). What is fitted to images takes a pool that is not the test set; the
official code takes the test set.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Float, Int

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.inference import bprw
from hyperclip_jax.inference import templates as filters
from hyperclip_jax.inference.templates import Kept, Templates


class Pool(NamedTuple):
  """Labelled images to choose prompts by.

  Attributes:
    name: split that they are from.
    images: Gaussians (images, dim).
    labels: class of each.
  """

  name: str
  images: np.ndarray
  labels: np.ndarray


def measures(
  templates: Templates,
  images: Float[np.ndarray, "images dim"],
  accuracy: Callable[[Float[np.ndarray, "classes dim"]], Mapping[str, float]],
  pool: Pool | None,
) -> dict[str, float]:
  """Measures accuracy with the prompts that the published rules choose.

  The filters keep half of the prompts: of each class (`lowest_half`), of all
  together (`lowest_half_of_all`), or those below the mean of their class
  (`below_mean`). With a pool there are the greedy choice (`most_accurate`) and
  re-weighting by its images, with labels and without (`few_shot`,
  `unlabelled`).

  Args:
    templates: Gaussians of the prompts of each class.
    images: images that are scored.
    accuracy: function of classes that returns measures of these images.
    pool: images of another split; None if there are none.

  Returns:
    prompts/RULE_MEASURE and prompts/RULE_by_SPLIT_MEASURE, where SPLIT is the
    pool's name. A rule for which the pool has too few images is left out.
  """
  u = filters.uncertainties(templates)
  half = -(-u.shape[1] // 2)
  kept = {
    "lowest_half": filters.lowest(u, half),
    "lowest_half_of_all": filters.lowest_of_all(u, half * len(u)),
    "below_mean": filters.below_mean(u, 0.0),
  }
  if pool is not None:
    best = most_accurate(templates, pool.images, pool.labels, half)
    kept[f"most_accurate_by_{pool.name}"] = best
  found = {}
  for rule, which in kept.items():
    found[rule] = accuracy(filters.classes(templates, which))
  for rule, classes in _weighed(templates, images, pool).items():
    found[rule] = accuracy(classes)
  return {
    f"prompts/{rule}_{name}": value
    for rule, values in found.items()
    for name, value in values.items()
  }


def _weighed(
  templates: Templates, scored: np.ndarray, pool: Pool | None
) -> dict[str, np.ndarray]:
  """Classes of prompts that are weighed by the pool's images."""
  if pool is None:
    return {}
  found = {}
  for rule, settings, labels in (
    ("few_shot", bprw.FEW_SHOT, pool.labels),
    ("unlabelled", bprw.UNLABELLED, None),
  ):
    try:
      weighed = bprw.reweigh(
        templates, pool.images, settings, labels, scored=scored
      )
    except ValueError as error:  # too few images of a class
      logging.warning("prompts are not weighed (%s): %s", rule, error)
      continue
    found[f"{rule}_by_{pool.name}"] = weighed.classes
  return found


def most_accurate(
  templates: Templates,
  images: Float[np.ndarray, "images dim"],
  labels: Int[np.ndarray, " images"],
  count: int,
) -> Kept:
  """Keeps the prompts of each class that alone classify the most images right.

  The other classes are the averages of all their prompts, and cosines decide.
  Of equally good prompts, the less uncertain ones are kept.

  Args:
    templates: Gaussians of the prompts of each class.
    images: Gaussians of images that are not to be scored.
    labels: class of each image.
    count: number of prompts to keep of each class.

  Returns:
    Mask of the prompts to keep.

  Raises:
    ValueError: `count` is not positive.
  """
  if count < 1:
    raise ValueError(f"count is {count}: keep at least 1")
  means = gaussian.means(images).astype(np.float64)
  averages = gaussian.means(filters.classes(templates)).astype(np.float64)
  scores = means @ averages.T
  own = scores[np.arange(len(labels)), labels]
  best = np.sort(scores, axis=1)[:, ::-1][:, :2]
  first = scores.argmax(axis=1)
  u = filters.uncertainties(templates)
  kept = np.zeros(templates.shape[:2], bool)
  for k, rows in enumerate(gaussian.means(templates).astype(np.float64)):
    found = means @ rows.T
    # the best of the other classes, with which the prompts of k compete
    rivals = np.where(first == k, best[:, -1], best[:, 0])[:, None]
    mine = (labels == k)[:, None]
    stays = (own >= rivals[:, 0])[:, None] & (found < own[:, None])
    right = np.where(mine, found > rivals, stays).sum(axis=0)
    order = np.lexsort((u[k], -right))
    kept[k, order[:count]] = True
  return kept
