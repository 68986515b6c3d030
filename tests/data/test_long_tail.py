"""Subsets whose classes fall off exponentially."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hyperclip_jax.data import long_tail


def test_sizes_are_those_of_long_tailed_cifar():
  # Published counts of CIFAR-10 with f = 0.01, and the ends of CIFAR-100's.
  wanted = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
  assert long_tail.sizes(5000, 10, 0.01).tolist() == wanted
  found = long_tail.sizes(500, 100, 0.1)
  assert (found[0], found[-1], len(found)) == (500, 50, 100)


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(
  st.lists(st.integers(0, 5), min_size=1, max_size=60), st.floats(0.01, 1.0)
)
def test_the_first_ones_of_each_class_are_kept(labels, imbalance):
  labels = np.array(labels)
  kept = long_tail.choose(labels, imbalance)
  assert (np.diff(kept) > 0).all()
  counts = np.bincount(labels)
  wanted = long_tail.sizes(int(counts.max()), len(counts), imbalance)
  for label, (count, size) in enumerate(zip(counts, wanted, strict=True)):
    own = np.flatnonzero(labels == label)
    np.testing.assert_array_equal(
      kept[labels[kept] == label], own[: min(count, size)]
    )


@pytest.mark.parametrize("imbalance", [0.0, -1.0, 1.5, float("nan")])
def test_an_imbalance_out_of_range(imbalance):
  with pytest.raises(ValueError, match=r"an imbalance is in \(0, 1\]"):
    long_tail.choose(np.array([0, 1]), imbalance)
