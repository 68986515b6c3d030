"""Uncertainty against accuracy, and what includes what (ProLIP)."""

import math

import numpy as np
from jaxtyping import Bool, Float

from hyperclip_jax.geometry import gaussian

BINS = 10


def by_uncertainty(
  u: Float[np.ndarray, " n"],
  right: Bool[np.ndarray, " n"],
  bins: int = BINS,
) -> Float[np.ndarray, " bins"]:
  """Computes the share of right answers by bins of rising uncertainty.

  Args:
    u: uncertainty of each answer.
    right: whether it is right.
    bins: number of bins of n // bins answers each; the most uncertain of the
      rest are left out.

  Returns:
    Accuracy of each bin.

  Raises:
    ValueError: there are fewer answers than bins.
  """
  size = len(u) // bins
  if not size:
    raise ValueError(f"{len(u)} answers: {bins} bins need as many at least")
  order = np.argsort(u, kind="stable")[: size * bins]
  return np.asarray(right, np.float64)[order].reshape(bins, size).mean(axis=1)


def correlation(accuracies: Float[np.ndarray, " bins"]) -> float:
  """Computes Pearson's correlation of accuracies and the number of their bin.

  Args:
    accuracies: accuracy of each bin, by rising uncertainty.

  Returns:
    In [-1, 1], negative where the uncertain are more often wrong; NaN where all
    bins are alike.
  """
  if np.ptp(accuracies) == 0:
    return math.nan
  return float(np.corrcoef(np.arange(len(accuracies)), accuracies)[0, 1])


def calibration(
  u: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS
) -> float:
  """Computes the correlation of uncertainty and accuracy, by bins.

  Args:
    u: uncertainty of each answer.
    right: whether it is right.
    bins: number of bins.

  Returns:
    As `correlation`.
  """
  return correlation(by_uncertainty(u, right, bins))


def share_included(
  general: Float[np.ndarray, "n dim"], specific: Float[np.ndarray, "n dim"]
) -> float:
  """Computes the share of pairs in which the general includes the specific.

  Args:
    general: Gaussians, such as of masked images.
    specific: Gaussians, such as of the images that they were made of.

  Returns:
    Share of rows with a positive inclusion test, in its exact form.
  """
  return float((gaussian.inclusion(general, specific).sum(axis=-1) > 0).mean())
