"""Uncertainty against accuracy (ProLIP)."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Space

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


def correlations(
  space: Space,
  rows: Float[np.ndarray, "n dim"],
  right: Mapping[str, Bool[np.ndarray, " n"]],
) -> dict[str, float]:
  """Computes `calibration` for several kinds of answers.

  Args:
    space: space of the rows.
    rows: what was asked about, such as images.
    right: whether each answer is right, by the name of the measure.

  Returns:
    uncertainty/NAME_corr. It is left out where all bins are alike, or there are
    fewer answers than bins; all are for a space without uncertainty.
  """
  if not isinstance(space, Gaussian) or len(rows) < BINS:
    return {}
  u = gaussian.uncertainty(np.asarray(rows, np.float64))
  found = {
    f"uncertainty/{name}_corr": calibration(u, hits)
    for name, hits in right.items()
  }
  return {name: value for name, value in found.items() if not math.isnan(value)}
