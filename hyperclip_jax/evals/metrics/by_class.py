"""Metrics of classification besides the mean over classes."""

import numpy as np
from jaxtyping import Bool, Int


def macro_f1(
  predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> float:
  """Averages the F1 score over the classes that have an example.

  Args:
    predicted: class that each example was taken for.
    labels: class of each example.

  Returns:
    Mean of 2 TP / (2 TP + FP + FN), as WILDS has it for iWildCam (Koh et al.,
    ICML 2021).
  """
  classes = np.unique(labels)
  size = max(labels.max(), predicted.max()) + 1
  true = np.bincount(labels[predicted == labels], minlength=size)
  counts = np.bincount(labels, minlength=size)
  counts += np.bincount(predicted, minlength=size)
  return float(np.mean(2 * true[classes] / counts[classes]))


def worst_group(
  right: Bool[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> float:
  """Computes the accuracy of the group that has the lowest.

  Args:
    right: whether each answer is right.
    groups: group of each example, such as a region.
  """
  of = [right[groups == group].mean() for group in np.unique(groups)]
  return float(min(of))


def jaccard(
  chosen: Bool[np.ndarray, " n"], wanted: Bool[np.ndarray, " n"]
) -> float:
  """Computes the share of the candidates in either set that are in both.

  Args:
    chosen: whether each candidate was chosen.
    wanted: whether it should be; at least one.
  """
  return float((chosen & wanted).sum() / (chosen | wanted).sum())
