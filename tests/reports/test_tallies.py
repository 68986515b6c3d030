from collections import Counter
from typing import Any

import numpy as np
import pytest

from hyperclip_jax.reports import tallies


def axes_of(figure) -> list[Any]:
  return figure.axes


@pytest.mark.parametrize(
  ("share", "wanted"), [(0.01, 1), (0.5, 2), (0.51, 5), (0.95, 9), (1.0, 9)]
)
def test_quantile_is_the_least_number_with_the_share(share, wanted):
  assert tallies.quantile(Counter([1, 2, 2, 5, 9, 9]), share) == wanted


def test_shares_and_means():
  tally = Counter([7, 8, 8, 100])
  assert tallies.share_within(tally, 7) == 0.25
  assert tallies.share_within(tally, 99) == 0.75
  assert tallies.share_within(Counter(), 7) == 0
  assert tallies.mean(tally) == pytest.approx(123 / 4)


def test_even_bins_hold_equally_many_numbers_and_leave_outliers_out():
  numbers = {"a": Counter(range(512)), "b": Counter({9000: 1})}
  edges = tallies.even_bins(numbers)
  assert len(edges) <= tallies.BINS + 2
  assert set(np.diff(edges)) == {13.0}
  assert edges[0] == -0.5
  assert 507 < edges[-1] < 520
  np.testing.assert_array_equal(
    tallies.even_bins({"a": Counter()}), [-0.5, 0.5, 1.5]
  )


def test_a_histogram_shows_shares_and_loses_nothing():
  tally = Counter({0: 1, 2: 2, 50: 1})
  figure = tallies.histogram({"": tally}, np.arange(5) - 0.5, "things")
  (axes,) = axes_of(figure)
  shares, edges, _ = axes.patches[0].get_data()
  np.testing.assert_allclose(shares, [0.25, 0, 0.5, 0.25])
  np.testing.assert_allclose(edges, np.arange(5) - 0.5)
  assert not figure.legends
  assert axes.get_xlabel() == "things"


def test_two_tallies_have_a_legend_and_an_empty_one_is_flat():
  figure = tallies.histogram(
    {"width": Counter([1]), "height": Counter()}, np.arange(4) - 0.5, "pixels"
  )
  (legend,) = figure.legends
  assert [t.get_text() for t in legend.get_texts()] == ["width", "height"]
  flat, _, _ = axes_of(figure)[0].patches[2].get_data()
  assert not np.any(flat)
