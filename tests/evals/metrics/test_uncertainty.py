"""Uncertainty against accuracy, against official numbers."""

import math

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import uncertainty
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Sphere
from tests import golden_files


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("prolip/inference")


def test_correlations_equal_official(golden):
  u = golden["calibration/u"]
  for k in (1, 5):
    right = golden[f"calibration/correct{k}"]
    found = uncertainty.calibration(u, right)
    assert found == pytest.approx(golden[f"calibration/corr{k}"], rel=1e-12)


@pytest.mark.parametrize("score", ["cosine", "unc"])
def test_zero_shot_equals_official(score, golden):
  image = gaussian.join(golden["image_mean"], golden["image_l"])
  classes = gaussian.join(
    golden["classifier/mean"], np.log(golden["classifier/var"])
  )
  space = Gaussian("cosine" if score == "cosine" else "csd")
  order = np.argsort(-space.pairwise(image, classes), axis=1, kind="stable")
  right = order == golden["label"][:, None]
  u = space.uncertainty(image)
  for k in (1, 5):
    top = right[:, :k].any(axis=1)
    place = f"zero_shot/{score}"
    assert top.mean() == golden[f"{place}/top{k}"]
    found = uncertainty.calibration(u, top)
    assert found == pytest.approx(
      golden[f"{place}/corr_top{k}"], rel=1e-12, nan_ok=True
    )
  stats = [u.min(), u.max(), u.mean(), np.median(u)]
  np.testing.assert_allclose(stats, golden[f"zero_shot/{score}/stats"])


def test_bins_go_by_uncertainty_and_leave_the_rest_out():
  u = np.array([3.0, 1.0, 2.0, 9.0, 8.0])
  right = np.array([True, True, False, False, False])
  found = uncertainty.by_uncertainty(u, right, bins=2)
  np.testing.assert_array_equal(found, [0.5, 0.5])
  assert math.isnan(uncertainty.correlation(found))
  with pytest.raises(ValueError, match="5 answers: 10 bins need"):
    uncertainty.calibration(u, right)


def test_spaces_without_uncertainty_and_few_answers_have_no_correlation():
  rows = np.zeros((20, 4))
  right = {"top1": np.arange(20) < 5}
  found = uncertainty.correlations(Gaussian(), rows, right)
  assert found["uncertainty/top1_corr"] < -0.5
  assert not uncertainty.correlations(Sphere(), rows, right)
  few = {"top1": right["top1"][:9]}
  assert not uncertainty.correlations(Gaussian(), rows[:9], few)
  alike = {"top1": np.ones(20, bool)}
  assert not uncertainty.correlations(Gaussian(), rows, alike)
