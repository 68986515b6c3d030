"""Energies, and measures of detection against their definitions."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hyperclip_jax.evals.metrics.out_of_distribution import detection, energy

scores = st.lists(st.integers(-4, 4), min_size=1, max_size=25)


def test_energies():
  logits = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, 0.0], [-1e4, -1e4, -1e4]])
  found = energy(logits, 2.0)
  wanted = -2 * np.log(np.exp(logits[0] / 2).sum())
  np.testing.assert_allclose(found, [wanted, -1e4, 1e4 - 2 * np.log(3)])


@hypothesis.settings(
  max_examples=100, deadline=None, database=None, derandomize=True
)
@hypothesis.given(scores, scores)
def test_they_are_as_defined(inside, outside):
  found = detection(np.array(inside, float), np.array(outside, float))
  pairs = [(a < b) + 0.5 * (a == b) for a in inside for b in outside]
  np.testing.assert_allclose(found["auroc"], np.mean(pairs))
  # Sorted thresholds: the first that accepts 95% of the positives.
  for t in sorted({*inside, *outside}):
    if 100 * sum(a <= t for a in inside) >= 95 * len(inside):
      break
  assert found["fpr95"] == pytest.approx(np.mean([b <= t for b in outside]))
  total, before = 0.0, 0.0
  for t in sorted({*inside, *outside}):
    right, wrong = sum(a <= t for a in inside), sum(b <= t for b in outside)
    recall = right / len(inside)
    total += (recall - before) * right / (right + wrong)
    before = recall
  np.testing.assert_allclose(found["aupr"], total)


def test_twenty_positives_need_nineteen():
  inside = np.arange(20.0)
  found = detection(inside, np.array([18.0, 18.5, 30.0, 40.0]))
  assert found["fpr95"] == 0.25


@pytest.mark.parametrize("outside", [[], [np.nan]])
def test_scores_that_say_nothing_are_refused(outside):
  with pytest.raises(ValueError, match=r"found 1 and \d"):
    detection(np.array([1.0]), np.array(outside, float))
