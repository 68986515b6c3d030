"""Rates, errors and chance levels, against simulation and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.evals import rates


def hits(right):
  """Right at once or not at all, among five."""
  return np.array(right, bool)[:, None] & (np.arange(5) == 0)


def test_classes_of_one_size_have_the_binomial_error():
  labels = np.repeat(np.arange(4), 25)
  right = np.arange(100) % 5 == 0
  found = rates.classified(hits(right), labels, 10)
  assert found["top1"] == pytest.approx(0.2)
  assert found["top1_se"] == pytest.approx((0.2 * 0.8 / 100) ** 0.5)
  assert (found["top1_chance"], found["top5_chance"]) == (0.1, 0.5)
  assert (found["images"], found["classes"]) == (100, 10)


def test_the_error_is_that_of_draws_of_images():
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(3), (5, 50, 500))
  found = [
    rates.classified(hits(rng.random(555) < 0.3), labels, 3)
    for _ in range(2000)
  ]
  spread = np.std([row["top1"] for row in found])
  error = np.mean([row["top1_se"] for row in found])
  assert error == pytest.approx(spread, rel=0.05)


def test_fewer_than_five_classes_are_always_among_the_first_five():
  found = rates.classified(np.eye(2, dtype=bool), np.array([0, 1]), 2)
  assert (found["top5"], found["top5_chance"], found["top5_se"]) == (1, 1, 0)


def test_chance_of_retrieval_is_that_of_all_draws():
  owners = np.array([0, 0, 0, 1, 2, 2])
  for k in (1, 2, 5):
    draws = [*itertools.combinations(range(6), k)]
    expected = np.mean(
      [
        any(owners[i] == image for i in draw)
        for draw in draws
        for image in range(3)
      ]
    )
    found = rates.retrieved(np.zeros(3, int), np.zeros(6, int), [k], owners)
    assert found[f"i2t_r{k}_chance"] == pytest.approx(expected)
    assert found[f"t2i_r{k}_chance"] == min(k, 3) / 3


def test_captions_of_one_image_are_one_draw():
  owners = np.repeat(np.arange(50), 5)
  t2i = np.repeat(np.arange(50) % 2, 5)  # All five are found, or none.
  found = rates.retrieved(np.zeros(50, int), t2i, [1], owners)
  assert found["t2i_r1"] == 0.5
  assert found["t2i_r1_se"] == pytest.approx((0.25 / 50) ** 0.5)
  assert (found["i2t_r1"], found["i2t_r1_se"]) == (1, 0)
  assert (found["images"], found["texts"]) == (50, 250)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_rates_errors_and_chances_are_in_their_ranges(owners, data):
  rows = np.unique(owners, return_inverse=True)[1]
  images = int(rows.max()) + 1

  def ranks(n):
    return np.array(
      data.draw(st.lists(st.integers(0, 40), min_size=n, max_size=n))
    )

  found = rates.retrieved(ranks(images), ranks(len(rows)), (1, 5, 10), rows)
  counted = {k: v for k, v in found.items() if k not in rates.COUNTS}
  assert all(0 <= value <= 1 for value in counted.values())
  assert len(rates.measured(found)) == 6


def test_means_come_with_the_error_of_a_mean():
  rows = np.array([[0.0, 1.0], [2.0, 1.0]])
  assert rates.means(("tie", "lca"), rows) == {
    "tie": 1.0,
    "lca": 1.0,
    "tie_se": pytest.approx(1 / 2**0.5),
    "lca_se": 0.0,
  }


def test_measured_leaves_out_what_explains():
  found = rates.halves("swap", 0.75, 48) | {"a/images": 3.0, "pairs": 4.0}
  assert rates.measured(found) == {"swap": 0.75}
  assert found["swap_se"] == pytest.approx(1 / 16)
