import collections
import pathlib

import numpy as np
import pytest

from hyperclip_jax.evals.datasets import coco_ap
from hyperclip_jax.evals.datasets.coco import Box, Image, Instances
from hyperclip_jax.evals.datasets.coco_ap import Detection

CATEGORIES = {17: "cat", 3: "car", 18: "dog", 44: "bottle"}


def instances(images, boxes):
  """Boxes are (image, category, xywh) with crowd or not."""
  rows = [
    Box(image, category, xywh, 1.0, bool(crowd))
    for image, category, xywh, *crowd in boxes
  ]
  photo = Image(pathlib.Path(), 100, 100)
  return Instances(dict.fromkeys(images, photo), CATEGORIES, rows)


def test_the_split():
  base, novel = coco_ap.split()
  assert (len(set(base)), len(set(novel))) == (48, 17)
  assert not set(base) & set(novel)
  assert {"person", "tv"} <= set(base)
  assert {"couch", "airplane"} <= set(novel)


def test_perfect_detections():
  data = instances([1], [(1, 17, (0.0, 0.0, 9.0, 9.0))])
  found = [Detection(1, 17, (0.0, 0.0, 9.0, 9.0), 0.1)]
  # Of the groups, only novel has a class with a box.
  assert coco_ap.average_precisions(data, found) == pytest.approx(
    {"ap_all": 1, "ap50_all": 1, "ap_novel": 1, "ap50_novel": 1}
  )


def test_by_hand():
  # The best cat is wrong; the right one is 60% of its box, and the car's is
  # right. A crowd of dogs swallows two detections that would be false.
  place = (0.0, 0.0, 10.0, 10.0)
  data = instances(
    [1, 2],
    [(1, 17, place), (2, 3, place), (2, 18, place, 1), (1, 18, place)],
  )
  found = [
    Detection(2, 17, place, 0.9),
    Detection(1, 17, (0.0, 0.0, 10.0, 6.0), 0.8),
    Detection(2, 3, place, 0.2),
    Detection(2, 18, place, 0.9),
    Detection(2, 18, place, 0.8),
    Detection(1, 18, place, 0.1),
  ]
  result = coco_ap.average_precisions(data, found)
  # Cat: precision 1/2 at the IoUs .5, .55 and .6 of ten.
  cat, cat50 = 0.5 * 3 / 10, 0.5
  assert result == pytest.approx(
    {
      "ap_all": (cat + 1 + 1) / 3,
      "ap50_all": (cat50 + 1 + 1) / 3,
      "ap_base": 1,
      "ap50_base": 1,
      "ap_novel": (cat + 1) / 2,
      "ap50_novel": (cat50 + 1) / 2,
    }
  )


def test_nothing_found():
  data = instances([1], [(1, 3, (0.0, 0.0, 9.0, 9.0))])
  result = coco_ap.average_precisions(data, [])
  assert set(result.values()) == {0.0}
  assert set(result) == {"ap_all", "ap50_all", "ap_base", "ap50_base"}


def rival(data, found, category, threshold):
  """101-point interpolated average precision, one box at a time."""
  truth = collections.defaultdict(list)
  for box in data.boxes:
    if box.category == category:
      truth[box.image].append(box.xywh)
  taken, hits = set(), []
  mine = [row for row in found if row.category == category]
  for row in sorted(mine, key=lambda row: -row.score):
    best, match = threshold, None
    for i, other in enumerate(truth[row.image]):
      if (row.image, i) not in taken and iou(row.xywh, other) >= best:
        best, match = iou(row.xywh, other), (row.image, i)
    hits.append(match is not None)
    taken.add(match)
  right = np.cumsum(hits)
  recall = right / sum(map(len, truth.values()))
  precision = right / np.arange(1, len(hits) + 1)
  points = [
    precision[recall >= r - 1e-12].max(initial=0) for r in np.arange(101) / 100
  ]
  return np.mean(points)


def iou(a, b):
  w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
  h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
  shared = max(w, 0) * max(h, 0)
  return shared / (a[2] * a[3] + b[2] * b[3] - shared)


@pytest.mark.parametrize("seed", range(3))
def test_against_a_plain_implementation(seed):
  rng = np.random.default_rng(seed)

  def place(near=None):
    if near is None:
      return (*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2))
    return tuple(np.array(near) * rng.uniform(0.8, 1.25, 4))

  boxes = [
    (image, category, place())
    for image in (1, 2, 5)
    for category in CATEGORIES
    for _ in range(3)
  ]
  data = instances([1, 2, 5], boxes)
  found = [
    Detection(image, int(category), place(near), float(rng.random()))
    for image, _, near in boxes
    for category in rng.choice(list(CATEGORIES), 3)
  ]
  result = coco_ap.average_precisions(data, found)
  aps = {
    category: [
      rival(data, found, category, t) for t in np.linspace(0.5, 0.95, 10)
    ]
    for category in CATEGORIES
  }
  for group, members in (("base", (3, 44)), ("novel", (17, 18))):
    chosen = np.array([aps[category] for category in members])
    assert 0 < chosen.mean() < 1
    assert result[f"ap_{group}"] == pytest.approx(chosen.mean())
    assert result[f"ap50_{group}"] == pytest.approx(chosen[:, 0].mean())
