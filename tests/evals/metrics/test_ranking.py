import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from hyperclip_jax.evals.metrics import ranking


def rows(*values):
  return np.array(values, bool)


def test_average_precision_by_hand():
  # Hits at ranks 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3.
  scores = np.array([9.0, 8.0, 7.0, 6.0, 5.0])
  result = ranking.average_precision(rows(1, 0, 1, 1, 0), scores)
  assert result == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_ties_stand_at_one_threshold():
  # One threshold of three rows, two positive: the order does not matter.
  for truth in (rows(1, 1, 0), rows(0, 1, 1)):
    scores = np.zeros(3, np.float32)
    assert ranking.average_precision(truth, scores) == pytest.approx(2 / 3)
    assert ranking.auroc(truth, scores) == 0.5


def test_auroc_by_hand():
  # Of 2 x 2 pairs the positive is above in two and level in one.
  scores = np.array([4.0, 3.0, 3.0, 5.0])
  assert ranking.auroc(rows(1, 1, 0, 0), scores) == pytest.approx(1.5 / 4)
  assert ranking.auroc(rows(1, 0), np.array([np.inf, -np.inf])) == 1.0


SCORES = st.integers(2, 40).flatmap(
  lambda n: st.tuples(
    arrays.arrays(bool, n),
    arrays.arrays(
      np.float32, n, elements=st.integers(-4, 4) | st.floats(-5, 5, width=32)
    ),
  )
)


@given(SCORES)
def test_against_scikit_learn(pair):
  truth, scores = pair
  if truth.any():
    assert ranking.average_precision(truth, scores) == pytest.approx(
      metrics.average_precision_score(truth, scores)
    )
  if truth.any() and not truth.all():
    assert ranking.auroc(truth, scores) == pytest.approx(
      metrics.roc_auc_score(truth, scores)
    )


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_error_of_auroc_is_the_spread_of_samples(shift):
  rng = np.random.default_rng(0)
  truth = np.arange(120) < 50
  areas = [
    ranking.auroc(truth, rng.normal(size=120) + shift * truth)
    for _ in range(1_000)
  ]
  error = ranking.auroc_error(float(np.mean(areas)), 50, 70)
  assert error == pytest.approx(np.std(areas), rel=0.1)
  assert ranking.auroc_error(1.0, 50, 70) == 0


def test_the_mean_is_over_classes_with_a_positive_row():
  truth = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], bool)
  scores = np.array([[2.0, 9.0, 0.0], [1.0, 8.0, 0.0], [0.0, 7.0, 0.0]])
  expected = (1 + (1 / 2 + 2 / 3) / 2) / 2
  result = ranking.mean_average_precision(truth, scores)
  assert result == pytest.approx(expected)
  assert result == pytest.approx(
    metrics.average_precision_score(
      truth[:, :2], scores[:, :2], average="macro"
    )
  )


def test_unknown_rows_are_left_out():
  truth = np.array([[0], [1], [1]], bool)
  scores = np.array([[3.0], [2.0], [1.0]])
  known = np.array([[0], [1], [1]], bool)
  assert ranking.mean_average_precision(truth, scores, known) == 1.0
  known = np.array([[1], [1], [0]], bool)
  assert ranking.mean_average_precision(truth, scores, known) == 0.5


def test_what_cannot_be_ranked_is_told():
  nan = np.array([1.0, np.nan])
  for metric in (ranking.average_precision, ranking.auroc):
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
      metric(rows(1, 0), nan)
    with pytest.raises(ValueError, match="0 of 0"):
      metric(rows(), np.zeros(0))
  with pytest.raises(ValueError, match="none of the 2 rows"):
    ranking.average_precision(rows(0, 0), np.zeros(2))
  for truth in (rows(0, 0), rows(1, 1)):
    with pytest.raises(ValueError, match="needs both kinds"):
      ranking.auroc(truth, np.zeros(2))
  with pytest.raises(ValueError, match="none of 1 classes"):
    ranking.mean_average_precision(np.zeros((2, 1), bool), np.zeros((2, 1)))
