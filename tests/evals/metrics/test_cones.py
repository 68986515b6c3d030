"""Planted embeddings whose cones are known by hand."""

import math

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import cones
from hyperclip_jax.geometry.euclid import Euclid
from hyperclip_jax.geometry.spaces import Lorentz, Product, Sphere

GENERAL = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
# Twice straight outward, once 45 degrees off, and once the point itself.
SPECIFIC = np.array([[2, 0], [0, 2], [-2, 1], [0, -1]], np.float32)
APART = np.arange(4)


def test_shares_areas_and_angles_by_hand():
  found = cones.measure(Euclid(), GENERAL, SPECIFIC, APART)
  assert found["inside"] == 0.75
  assert found["inside_se"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
  # The next general point lies beside or behind each specific one.
  assert found["shuffled"] == 0
  assert found["auroc"] == 1
  # Squared distances 1, 1, 2 and 0, shuffled 5, 5, 8 and 2: one tie of 16.
  assert found["similarity_auroc"] == pytest.approx(15.5 / 16)
  assert found["auroc_chance"] == found["similarity_auroc_chance"] == 0.5
  assert found["angle"] == pytest.approx(0, abs=1e-9)
  assert found["aperture"] == pytest.approx(math.asin(0.1))
  assert found["pairs"] == 4


def test_collapsed_cones_hold_anything():
  general = 0.1 * np.array([[1, 0], [1, 0.01], [1, -0.01]], np.float32)
  specific = np.array([[3, 0], [3, 1], [3, -1]], np.float32)
  found = cones.measure(Lorentz(1.0), general, specific, np.arange(3))
  assert found["inside"] == found["shuffled"] == 1
  assert found["aperture"] == pytest.approx(math.pi / 2)


def test_shuffled_pairs_that_are_true_are_left_out():
  # The second general point is the concept of the first, so that only the
  # pairs (third, second) and (first, third) are false.
  general, specific = GENERAL[[0, 0, 1]], SPECIFIC[[0, 0, 1]]
  found = cones.measure(Euclid(), general, specific, np.array([7, 7, 9]))
  assert (found["inside"], found["shuffled"]) == (1, 0)
  found = cones.measure(Euclid(), general, specific, np.arange(3))
  assert found["shuffled"] == pytest.approx(1 / 3)
  assert cones.measure(Euclid(), general, specific, np.zeros(3, int)) == {}
  assert cones.measure(Euclid(), general[:0], specific[:0], APART[:0]) == {}
  assert cones.measure(Euclid(), general[:1], specific[:1], APART[:1]) == {}


def test_a_product_has_means_over_its_factors():
  space = Product(np.ones(2))
  one, two = Lorentz(1.0), Lorentz(1.0)
  general, specific = (np.tile(x, 2) for x in (GENERAL, SPECIFIC))
  specific[:, 2:] = specific[::-1, 2:]
  found = cones.measure(space, general, specific, APART)
  angles = (
    one.exterior_angle(GENERAL, SPECIFIC)
    + two.exterior_angle(GENERAL, SPECIFIC[::-1])
  ) / 2
  assert found["angle"] == pytest.approx(np.median(angles))
  assert found["aperture"] == pytest.approx(math.asin(0.2))
  assert found["inside"] == np.mean(angles <= math.asin(0.2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_left_out(bad):
  rows = np.full((1, 2), bad, np.float32)
  found = cones.measure(
    Euclid(),
    np.concatenate([GENERAL, rows, GENERAL[:1]]),
    np.concatenate([SPECIFIC, SPECIFIC[:1], rows]),
    np.arange(6),
  )
  assert found == cones.measure(Euclid(), GENERAL, SPECIFIC, APART)


def test_records_give_the_relations_that_they_have():
  embeddings = {
    "image": 4 * GENERAL,
    "text": 2 * GENERAL,
    "box_image": 3 * GENERAL,
    "box_text": GENERAL,
  }
  texts = {"text": ["a b", "c", "d", "e f"], "box_text": ["a", "c", "d", "e"]}
  parts = np.array([True, True, False, True])

  def pairs(parts):
    found = cones.of_records(Euclid(), embeddings, texts, parts)
    assert all(v == 1 for k, v in found.items() if k.endswith("inside"))
    return {k: v for k, v in found.items() if k.endswith("/pairs")}

  # A phrase that is the caption does not entail it.
  assert pairs(parts) == {
    "text_image/pairs": 4,
    "box_text_box_image/pairs": 3,
    "box_text_text/pairs": 2,
    "box_image_image/pairs": 3,
  }
  assert pairs(np.zeros(4, bool)) == {"text_image/pairs": 4}
  assert cones.of_records(Sphere(), embeddings, texts, parts) == {}
