"""Average precision and area under the ROC curve.

Rows with equal scores share one threshold, as in scikit-learn, so their order
does not matter.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def average_precision(
  truth: Bool[np.ndarray, "rows"], scores: Float[np.ndarray, "rows"]
) -> float:
  """Sums (gain in recall) x precision over the thresholds, not interpolated.

  Args:
    truth: whether each row is positive.
    scores: scores that are higher for positive rows.

  Returns:
    Average precision, a fraction.

  Raises:
    ValueError: a score is NaN, or no row is positive.
  """
  hits, rows = _curve(truth, scores)
  if not hits[-1]:
    raise ValueError(f"none of the {len(truth)} rows is positive")
  gains = np.diff(hits, prepend=0)
  return float(np.sum(gains * (hits / rows)) / hits[-1])


def auroc(
  truth: Bool[np.ndarray, "rows"], scores: Float[np.ndarray, "rows"]
) -> float:
  """Computes the area under the ROC curve; ties count half.

  It is the probability that a positive row has a higher score than a negative
  one.

  Args:
    truth: whether each row is positive.
    scores: scores that are higher for positive rows.

  Returns:
    Area, a fraction.

  Raises:
    ValueError: a score is NaN, or all rows are of one kind.
  """
  hits, rows = _curve(truth, scores)
  misses = rows - hits
  if not hits[-1] or not misses[-1]:
    raise ValueError(
      f"{hits[-1]} of {len(truth)} rows are positive; AUROC needs both kinds"
    )
  below = hits - np.diff(hits, prepend=0) / 2
  area = np.sum(np.diff(misses, prepend=0) * below)
  return float(area / (hits[-1] * misses[-1]))


def auroc_error(area: float, positive: int, negative: int) -> float:
  """Estimates the standard error of an area under the ROC curve.

  Args:
    area: the area, a fraction.
    positive: number of positive rows, at least 1.
    negative: number of negative rows, at least 1.

  Returns:
    Standard error; rows are taken to be independent.

  References:
    Hanley and McNeil, The meaning and use of the area under a receiver
    operating characteristic (ROC) curve, 1982, equation 1.

  Examples:
    >>> round(auroc_error(0.5, 100, 100), 3)
    0.041
  """
  above, below = area / (2 - area), 2 * area**2 / (1 + area)
  variance = area * (1 - area)
  variance += (positive - 1) * (above - area**2)
  variance += (negative - 1) * (below - area**2)
  return float(np.sqrt(variance / (positive * negative)))


def mean_average_precision(
  truth: Bool[np.ndarray, "rows classes"],
  scores: Float[np.ndarray, "rows classes"],
  known: Bool[np.ndarray, "rows classes"] | None = None,
) -> float:
  """Averages the average precision of each class over the classes.

  Args:
    truth: whether each row shows each class.
    scores: scores that are higher for rows that show the class.
    known: False where a row is left out of a class's ranking; None for no row.

  Returns:
    Mean over the classes that have a positive row, a fraction.

  Raises:
    ValueError: a score is NaN, or no class has a positive row.
  """
  known = np.ones_like(truth) if known is None else known
  classes = np.flatnonzero((truth & known).any(axis=0))
  if not len(classes):
    raise ValueError(f"none of {truth.shape[1]} classes has a positive row")
  keep = [known[:, c] for c in classes]
  return float(
    np.mean(
      [
        average_precision(truth[rows, c], scores[rows, c])
        for c, rows in zip(classes, keep, strict=True)
      ]
    )
  )


def _curve(
  truth: Bool[np.ndarray, "rows"], scores: Float[np.ndarray, "rows"]
) -> tuple[Int[np.ndarray, "thresholds"], Int[np.ndarray, "thresholds"]]:
  """Counts positive rows, and all rows, at or above each distinct score."""
  bad = np.count_nonzero(np.isnan(scores))
  if bad or not len(scores):
    raise ValueError(f"{bad} of {len(scores)} scores are NaN: cannot be ranked")
  order = np.argsort(-scores, kind="stable")
  ranked = scores[order]
  last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
  return np.cumsum(truth[order], dtype=np.int64)[last], last + 1
