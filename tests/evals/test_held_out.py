"""What is measured on a sample, and how it is named."""

import collections

import pytest

from hyperclip_jax.evals import held_out
from hyperclip_jax.training import runs
from tests import small


@pytest.fixture(scope="module")
def sample():
  return runs.sample(small.config())


@pytest.fixture
def blind(make_model):
  """A model to which all texts are alike."""
  return blind_table(make_model, False)


def test_results_come_with_errors_chances_and_counts(blind, sample):
  found = held_out.evaluate(blind, sample)
  assert found.results["eval/zero_shot/top1"] == pytest.approx(1 / 96)
  assert found.context["eval/zero_shot/top1_chance"] == pytest.approx(1 / 96)
  assert found.context["eval/zero_shot/images"] == 96
  assert found.context["eval/retrieval/i2t_r5_chance"] == pytest.approx(5 / 48)
  assert found.context["eval/hierarchy/tie_se"] > 0
  assert not found.results.keys() & found.context.keys()
  assert not any("_se" in name for name in found.results)


def test_results_of_training_records_are_named_so(blind, sample):
  found = held_out.evaluate(blind, sample._replace(name=held_out.TRAIN_SAMPLE))
  names = found.results | found.context
  assert all(name.startswith("train_sample/") for name in names)
  text = held_out.summary(found.results)
  assert text.startswith("train_sample  retrieval/i2t_r5 ")
  assert "zero_shot/top1 0.010" in text


def test_cones_are_measured_where_there_are_any(make_model, sample):
  found = held_out.evaluate(blind_table(make_model, True), sample)
  names = {n for n in found.results if n.startswith("eval/cones/")}
  kinds = ("text_image", "box_text_box_image", "box_text_text")
  for kind in (*kinds, "box_image_image"):
    assert {f"eval/cones/{kind}/inside", f"eval/cones/{kind}/auroc"} <= names
    assert found.context[f"eval/cones/{kind}/pairs"] >= 40
  assert "cones/text_image/inside 0.000" in held_out.summary(found.results)
  assert not any(
    "cones" in name
    for name in held_out.evaluate(
      blind_table(make_model, False), sample
    ).results
  )


def blind_table(make_model, hyperbolic):
  alike = (1.0, 1.0, 1.0)
  return make_model(hyperbolic, collections.defaultdict(lambda: alike, x=alike))
