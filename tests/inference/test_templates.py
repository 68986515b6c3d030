"""Filters and re-weighting of templates, against official numbers."""

import warnings

import numpy as np
import pytest

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.inference import bprw, templates
from tests import golden_files

PUBLISHED = (
  "few_shot",
  "unlabelled",
  "multiplier_uniform",
  "no_eps_inverse_sq",
)


@pytest.fixture(scope="module")
def inference():
  return golden_files.arrays("prolip/inference")


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("prolip/bprw")


def assert_relative(found, wanted, tolerance=1e-12):
  atol = tolerance * np.abs(wanted).max()
  np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


FILTERS = {
  "by_ranking": lambda u, x: templates.lowest(u, int(x)),
  "by_std_values_all": lambda u, x: templates.lowest_of_all(u, int(x)),
  "by_std_values_per_class": templates.below_mean,
  "by_abs_value": templates.below,
}


@pytest.mark.parametrize("number", range(8))
def test_filters_equal_official(number, inference):
  rows = gaussian.join(inference["template_mean"], inference["template_l"])
  u = templates.uncertainties(rows)
  assert_relative(u, inference["uncertainty/template"])
  place = f"filter/{number}"
  keep = FILTERS[str(inference[f"{place}/name"])]
  kept = keep(u, float(inference[f"{place}/coeff"]))
  found = templates.classes(rows, kept)
  assert_relative(gaussian.means(found), inference[f"{place}/mean"])
  assert_relative(np.exp(gaussian.log_vars(found)), inference[f"{place}/var"])


def test_filters_keep_ties_and_one_of_each_class():
  u = np.array([[1.0, 1.0, 2.0], [5.0, 6.0, 7.0]])
  assert templates.lowest(u, 1).tolist() == [
    [True, True, False],
    [True, False, False],
  ]
  assert templates.lowest_of_all(u, 1).tolist() == [
    [True, True, False],
    [True, False, False],
  ]
  assert templates.lowest(u, 9).all()
  assert templates.below(u, 0.0).sum() == 3
  assert templates.below_mean(u[:, :1], 0.0).all()
  for keep in (templates.lowest, templates.lowest_of_all):
    with pytest.raises(ValueError, match="count is 0"):
      keep(u, 0)


def case(golden, name):
  """Templates, pool, labels or None, and settings."""
  given = {
    key.removeprefix(f"{name}/in/"): value
    for key, value in golden.items()
    if key.startswith(f"{name}/in/")
  }
  rows = gaussian.join(given["template_mean"], np.log(given["template_var"]))
  pool = gaussian.join(given["image_mean"], given["image_l"])
  labelled = golden[f"{name}/set/labelled"]
  labels = given["image_label"] if labelled else None
  settings = bprw.parse(str(golden[f"{name}/set/coeff"]))
  return given, rows, pool, labels, settings


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_equal_official(name, golden):
  given, rows, pool, labels, settings = case(golden, name)
  chosen = bprw.select(rows, pool, settings.neighbours, labels)
  np.testing.assert_array_equal(chosen, golden[f"{name}/out/selected_images"])
  drawn = [
    bprw.draw(pool[own], noise)
    for own, noise in zip(chosen, given["noise"], strict=True)
  ]
  assert_relative(np.stack(drawn), given["samples"], 2e-7)
  weights = np.stack(
    [
      bprw.weigh(own, samples, settings)
      for own, samples in zip(rows, given["samples"], strict=True)
    ]
  )
  assert_relative(weights, golden[f"{name}/out/pi"], 1e-10)
  found = bprw.mix(rows, weights)
  assert_relative(
    gaussian.means(found), golden[f"{name}/out/class_mean"], 1e-10
  )
  variance = np.exp(gaussian.log_vars(found))
  assert_relative(variance, golden[f"{name}/out/class_var"], 1e-10)
  query = given["query_mean"]
  query = gaussian.join(query, np.full_like(query, -745.0))  # no uncertainty
  cosines = 100.0 * Gaussian("cosine").pairwise(query, found)
  assert_relative(cosines, golden[f"{name}/out/score"], 1e-10)
  scores = 100.0 * Gaussian().pairwise(query, found)
  assert_relative(scores, golden[f"{name}/out/score_unc"], 1e-10)


@pytest.mark.parametrize(
  "name", ["one_component", "dirichlet", "below_one", "identical"]
)
def test_expectation_maximisation_equals_official(name, golden):
  means, variances = golden["em/means"], golden["em/vars"]
  if name == "identical":
    means = np.repeat(means[:1], 5, axis=0)
    variances = np.repeat(variances[:1], 5, axis=0)
    settings = bprw.Settings(2.0, 1.0, 1, 1, 0.0, "uniform")
  else:
    given = {
      key: golden[f"em/{name}/set/{key}"]
      for key in ("alpha", "var_multi", "stable_eps", "prior")
    }
    settings = bprw.Settings(
      float(given["alpha"]),
      float(given["var_multi"]),
      1,
      1,
      float(given["stable_eps"]),
      str(given["prior"]),
    )
  rows = gaussian.join(means, np.log(variances))
  found = bprw.weigh(rows, golden["em/samples"], settings)
  assert_relative(found, golden[f"em/{name}/pi"], 1e-10)
  if name == "identical":
    np.testing.assert_allclose(found, 0.2)


def test_weights_are_on_the_simplex_and_follow_their_templates(golden):
  _, rows, pool, labels, settings = case(golden, "few_shot")
  found = bprw.reweigh(rows, pool, settings, labels)
  np.testing.assert_allclose(found.weights.sum(axis=1), 1)
  assert (found.weights >= 0).all()
  order = np.array([3, 1, 0, 2, 7, 6, 4, 5])
  again = bprw.reweigh(rows[:, order], pool, settings, labels)
  np.testing.assert_allclose(again.weights, found.weights[:, order], rtol=1e-8)
  np.testing.assert_allclose(again.classes, found.classes, rtol=1e-8)
  other = bprw.reweigh(rows, pool, settings, labels, seed=1)
  assert np.any(other.weights != found.weights)
  unit = bprw.reweigh(rows, pool, settings, labels, normalise=True)
  lengths = np.linalg.norm(gaussian.means(unit.classes), axis=1)
  np.testing.assert_allclose(lengths, 1)


def test_one_separated_component_takes_all():
  means = 10 * np.eye(3)
  rows = gaussian.join(means, np.zeros((3, 3)))
  draws = means[1] + 0.1 * np.random.default_rng(0).normal(size=(20, 3))
  settings = bprw.Settings(1.0, 1.0, 1, 1, 0.0, "inverse")
  np.testing.assert_allclose(
    bprw.weigh(rows, draws, settings), [0, 1, 0], atol=1e-9
  )


def test_a_pool_that_is_scored_is_warned_of(golden):
  _, rows, pool, labels, settings = case(golden, "few_shot")
  with pytest.warns(UserWarning, match="150 of the 150 images of the pool"):
    bprw.reweigh(rows, pool, settings, labels, scored=pool)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    bprw.reweigh(rows, pool, settings, labels, scored=pool + 1)


def test_a_pool_that_is_too_small_is_refused(golden):
  _, rows, pool, labels, settings = case(golden, "few_shot")
  with pytest.raises(ValueError, match="0 images of class 1, 5 are wanted"):
    bprw.reweigh(rows, pool, settings, 0 * labels)
  with pytest.raises(ValueError, match="the pool has 3 images, 5 are wanted"):
    bprw.reweigh(rows, pool[:3], settings)
  with pytest.raises(ValueError, match="149 labels for a pool of 150 images"):
    bprw.reweigh(rows, pool, settings, labels[1:])


@pytest.mark.parametrize(
  "text",
  [
    "",
    "2-1-5-20-0.02",
    "2-1-5-20-0.02-other",
    "0-1-5-20-0.02-inverse",
    "2-1-0-20-0.02-inverse",
    "2-1-x-20-0.02-inverse",
    "nan-1-5-20-0-inverse",
  ],
)
def test_settings_that_are_not_understood_are_refused(text):
  with pytest.raises(ValueError, match=r"settings|must be"):
    bprw.parse(text)
  assert bprw.parse("5-1-10-10-0.02-inverse") == bprw.UNLABELLED
