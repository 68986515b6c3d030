"""Choice of boxes: thresholds, clipping, suppression, rows."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.ground import select
from hyperclip_jax.data.ground.select import Found, Limits, Pick
from hyperclip_jax.data.ground.text import Phrase

LIMITS = Limits(0.3, 0.5, 10)
SIZE = (100, 100)


def picks(boxes, scores, limits=LIMITS):
  left_out = Counter()
  found = Found(np.array(boxes, float), np.array(scores, float))
  kept = select.picks(found, SIZE, limits, left_out)
  return kept, +left_out


def overlap(a, b):
  """Intersection over union, in the plainest way."""
  wide = min(a[2], b[2]) - max(a[0], b[0])
  high = min(a[3], b[3]) - max(a[1], b[1])
  common = max(wide, 0) * max(high, 0)
  area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
  return common / (area - common)


corner = st.integers(0, 15)
box = st.tuples(corner, corner, st.integers(1, 8), st.integers(1, 8)).map(
  lambda b: [b[0] / 16, b[1] / 16, (b[0] + b[2]) / 16, (b[1] + b[3]) / 16]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(box, max_size=12), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_is_that_of_brute_force(boxes, iou):
  wanted = []
  for i, one in enumerate(boxes):
    if all(overlap(one, boxes[j]) <= iou for j in wanted):
      wanted.append(i)
  ordered = np.array(boxes, float).reshape(-1, 4)
  assert select.suppress(ordered, iou).tolist() == wanted


def test_boxes_of_all_phrases_suppress_each_other():
  """A box has one phrase, the best; the second would overlap it wholly."""
  same = [0.1, 0.1, 0.5, 0.5]
  kept, left_out = picks(
    [same, same, [0.5, 0.5, 0.9, 0.9]], [[0.6, 0.5], [0.1, 0.7], [0.4, 0.2]]
  )
  assert [(p.phrase, p.score) for p in kept] == [(1, 0.7), (0, 0.4)]
  assert left_out == {"box overlaps a better one": 1}


def test_of_equal_scores_the_first_wins():
  a, b = [0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.55]
  assert [p.box for p in picks([a, b], [[0.5], [0.5]])[0]] == [tuple(a)]
  assert [p.box for p in picks([b, a], [[0.5], [0.5]])[0]] == [tuple(b)]


def test_a_phrase_may_have_several_boxes():
  kept, _ = picks([[0, 0, 0.3, 0.3], [0.6, 0.6, 1, 1]], [[0.5], [0.9]])
  assert [p.phrase for p in kept] == [0, 0]
  assert [p.score for p in kept] == [0.9, 0.5]


def test_the_threshold_is_exclusive_and_nan_is_nothing():
  boxes = [[0, 0, 0.3, 0.3]] * 3
  kept, left_out = picks(boxes, [[0.3], [np.nan], [0.2]])
  assert (kept, left_out) == ([], {})
  assert picks(np.zeros((0, 4)), np.zeros((0, 2)))[0] == []
  assert picks(boxes, np.zeros((3, 0)))[0] == []


def test_boxes_are_clipped_and_those_outside_or_small_suppress_nothing():
  good = [0.2, 0.2, 0.31, 0.35]
  boxes = [
    [-0.5, -0.1, 0.1, 1.5],
    [1.0, 0.0, 1.4, 1.0],
    [0.2, 0.2, 0.29, 0.4],  # 9 pixels wide
    good,
    [0.6, 0.2, 0.5, 0.4],
    [0.5, 0.5, np.nan, 1.0],
  ]
  kept, left_out = picks(boxes, [[0.9], [0.8], [0.7], [0.6], [0.5], [0.4]])
  assert [p.box for p in kept] == [(0.0, 0.0, 0.1, 1.0), tuple(good)]
  assert left_out == {
    "box outside": 1,
    "box too small": 1,
    "box inverted": 1,
    "box not finite": 1,
  }


def test_rows_are_those_of_grit():
  phrases = [Phrase((0, 5), (0, 27)), Phrase((9, 16), (9, 27))]
  kept = [
    Pick(1, (0.0, 0.1, 0.5, 1.0), 0.9),
    Pick(0, (0.2, 0.2, 1.0, 1.0), 0.8),
  ]
  lists = select.rows(phrases, kept, drop_contained=False)
  assert lists == {
    "noun_chunks": [
      [9.0, 16.0, 0.0, 0.1, 0.5, 1.0, 0.9],
      [0.0, 5.0, 0.2, 0.2, 1.0, 1.0, 0.8],
    ],
    "ref_exps": [
      [9.0, 27.0, 0.0, 0.1, 0.5, 1.0, 0.9],
      [0.0, 27.0, 0.2, 0.2, 1.0, 1.0, 0.8],
    ],
  }
  paper = select.rows(phrases, kept, drop_contained=True)
  assert paper["noun_chunks"] == lists["noun_chunks"]
  assert paper["ref_exps"] == lists["ref_exps"][1:]
