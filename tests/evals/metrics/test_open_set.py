"""Open-set measures against their definitions."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hyperclip_jax.evals.metrics.open_set import open_set

logits = st.lists(
  st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=20
)


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(logits, logits, st.integers(0, 2**20 - 1))
def test_they_are_as_defined(known, unknown, bits):
  known, unknown = np.array(known, float), np.array(unknown, float)
  labels = np.array([bits >> i & 1 for i in range(len(known))])
  found = open_set(known, labels, unknown)
  right = known.argmax(axis=1) == labels
  pairs = np.array(
    [[(a > b) + 0.5 * (a == b) for b in unknown.max(1)] for a in known.max(1)]
  )
  assert found["top1"] == pytest.approx(right.mean())
  assert found["auroc"] == pytest.approx(pairs.mean())
  # The curve over all thresholds, with straight lines between them.
  levels = sorted({*known.max(1), *unknown.max(1)}, reverse=True)
  x, y = [0.0], [0.0]
  for level in levels:
    x.append(np.mean(unknown.max(1) >= level))
    y.append(np.mean(right & (known.max(1) >= level)))
  area = np.sum(np.diff(x) * (np.array(y[1:]) + y[:-1]) / 2)
  assert found["oscr"] == pytest.approx(area, abs=1e-12)


def test_logits_that_say_nothing_are_refused():
  some = np.zeros((1, 2))
  for known, unknown in (
    (some, some[:0]),
    (some[:0], some),
    (some, some * np.nan),
  ):
    with pytest.raises(ValueError, match=r"known and \d unknown"):
      open_set(known, np.zeros(len(known), int), unknown)
