"""Long-tailed subsets of balanced data sets.

Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019;
the long-tailed CIFAR of Kasarla et al., Maximum Class Separation as Inductive
Bias in One Matrix, NeurIPS 2022.
"""

import numpy as np
from jaxtyping import Int


def sizes(most: int, classes: int, imbalance: float) -> Int[np.ndarray, " c"]:
  """Computes the sizes of classes, int(most imbalance^(i / (classes - 1))).

  Args:
    most: size of the first class.
    classes: number of classes.
    imbalance: size of the last class over that of the first, in (0, 1].

  Returns:
    Sizes, falling exponentially; at least 1.

  Raises:
    ValueError: the imbalance is not in (0, 1].

  Examples:
    >>> sizes(500, 3, 0.01).tolist()
    [500, 50, 5]
  """
  if not 0 < imbalance <= 1:
    raise ValueError(f"an imbalance is in (0, 1], found {imbalance}")
  powers = np.arange(classes) / max(1, classes - 1)
  # Rounding must not take one example from a whole number.
  exact = most * imbalance**powers
  return np.maximum(1, np.floor(exact + 1e-9)).astype(np.int64)


def choose(
  labels: Int[np.ndarray, " n"], imbalance: float
) -> Int[np.ndarray, " kept"]:
  """Chooses a long-tailed subset of examples.

  Args:
    labels: class of each example, from 0 on, as balanced as the data are.
    imbalance: size of the last class over that of the first, in (0, 1]; 1 keeps
      all examples.

  Returns:
    Numbers of the examples kept, ascending: the first ones of each class. A
    class with fewer than its size keeps all that it has.

  Raises:
    ValueError: the imbalance is not in (0, 1].

  Examples:
    >>> choose(np.array([0, 1, 0, 1, 0, 1, 0, 1]), 0.5).tolist()
    [0, 1, 2, 3, 4, 6]
  """
  counts = np.bincount(labels)
  wanted = sizes(int(counts.max(initial=0)), len(counts), imbalance)
  order = np.argsort(labels, kind="stable")
  place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  return np.sort(order[place < wanted[labels[order]]])
