"""Positions to records: every one once an epoch, sources by their weights."""

import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.feed.order import PERIOD, Order


def records(order, positions):
  return [(draw.source, draw.record) for draw in map(order, positions)]


def assert_every_record_comes_once_an_epoch(counts, weights, seed, positions):
  found = collections.defaultdict(list)
  for source, record in records(Order(counts, weights, seed), range(positions)):
    found[source].append(record)
  assert found.keys() == set(range(len(counts)))
  for source, numbers in found.items():
    count = counts[source]
    for first in range(0, len(numbers) - count + 1, count):
      assert sorted(numbers[first : first + count]) == list(range(count))


@settings(deadline=None, max_examples=8)  # few records are slow to shuffle
@given(
  st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from((0.05, 0.5, 1.0, 7.0))),
    min_size=1,
    max_size=4,
  ),
  st.integers(0, 2**32 - 1),
)
def test_every_record_of_a_source_comes_once_an_epoch(sources, seed):
  counts, weights = zip(*sources, strict=True)
  assert_every_record_comes_once_an_epoch(counts, weights, seed, 2000)


def test_epochs_go_on_over_periods():
  counts = (50_000, 20_000)
  assert_every_record_comes_once_an_epoch(counts, (3.0, 1.0), 0, 2 * PERIOD)


def test_sources_come_by_their_weights_at_any_time():
  order = Order((10**6, 10**7, 5), (3.0, 1.0, 0.5), 0)
  for first in (0, 12_345, 10**12):
    found = [order(first + i).source for i in range(90)]
    seen = collections.Counter(found)
    for source, wanted in enumerate((60, 20, 10)):
      assert abs(seen[source] - wanted) <= 2


def test_a_rare_source_comes_as_often_as_its_weight_says():
  counts, weights = (20_000_000, 5_000, 20), (1.0, 2.5e-4, 1.5e-3)
  found = records(Order(counts, weights, 0), range(2 * PERIOD))
  seen = collections.Counter(source for source, _ in found)
  assert (seen[1], seen[2]) == (50, 300)


def test_epochs_seeds_and_sources_are_shuffled_each_in_its_own_way():
  count = 1000
  orders = [Order((count, count), (1.0, 1.0), seed) for seed in (0, 7)]
  ways = {
    tuple(
      record
      for source, record in records(order, range(first, first + 2 * count))
      if source == which
    )
    for order in orders
    for first in (0, 2 * count)
    for which in (0, 1)
  }
  assert len(ways) == 8
  for way in ways:
    assert sorted(way) == list(range(count))
    # Neighbours are as far apart as in a random order: a third of all.
    apart = [abs(a - b) for a, b in itertools.pairwise(way)]
    assert sum(apart) / len(apart) == pytest.approx(count / 3, rel=0.1)


def test_sources_of_neighbouring_seeds_are_shuffled_independently():
  """As an ensemble of runs over the same sources has it."""
  ways = set()
  for seed in range(3):
    order = Order((50,) * 3, (1.0,) * 3, seed)
    found = records(order, range(150))
    ways |= {tuple(r for s, r in found if s == which) for which in range(3)}
  assert len(ways) == 9


def test_a_draw_is_that_of_its_position_for_ever():
  """What a run saw must be what it sees when it goes on with other releases."""
  order = Order((16_384, 20_000_000), (3.0, 1.0), 7)
  positions = (0, 1, 2, 3, 10**6, 10**12)
  assert [order(p).seed for p in positions] == [(7, p) for p in positions]
  wanted = [
    (0, 3402), (0, 11155), (1, 14167770), (0, 12162), (0, 2840), (0, 14506)
  ]  # fmt: skip
  assert records(order, positions) == wanted
