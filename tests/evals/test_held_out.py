"""What is measured on a sample, and how it is named."""

import collections
import dataclasses

import numpy as np
import pytest

from hyperclip_jax.evals import held_out
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.training import sources
from tests import small


@pytest.fixture(scope="module")
def sample():
  return sources.sample(small.config())


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
  text = "  ".join(held_out.summary(found.results))
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


def test_gaussians_are_measured_by_both_scores(make_model, sample):
  found = held_out.evaluate(wide_texts(make_model), sample)
  names = {name.removeprefix("eval/") for name in found.results}
  for kind in ("retrieval/i2t_r5", "retrieval/t2i_r1", "zero_shot/top1"):
    assert {kind, f"{kind}_cosine"} <= names
  assert "zero_shot_held_out/top5_cosine" in names
  # The shorter a text, the wider; images are narrow.
  assert found.results["eval/uncertainty/words_corr"] < -0.8
  # "thing" has one word, "red circle" two.
  wide = [found.results[f"eval/uncertainty/depth_{i}"] for i in (0, 3)]
  assert wide[0] > wide[1] > found.results["eval/uncertainty/depth_images"]
  assert found.results["eval/includes/text_image"] == 1
  assert found.results["eval/includes/depth_0_image"] == 1
  assert found.context["eval/includes/parent_child_chance"] == 0.5
  plain = held_out.evaluate(blind_table(make_model, True), sample).results
  assert not any("cosine" in n or "uncertainty" in n for n in plain)


def test_nouns_are_told_apart_among_nouns_by_every_model(make_model, sample):
  """So that models are compared on the same pictures, whatever they predict."""
  classes = sample.classes
  first, second = sorted({*classes.labels})[:2]
  nouns = {first: ("form",), second: ("form",), "form": ()}
  some = sample._replace(classes=classes._replace(wordnet=nouns))
  for cones in (True, False):
    found = held_out.evaluate(blind_table(make_model, cones), some)
    images = sum(label in (first, second) for label in classes.labels)
    assert found.context["eval/hierarchy_wordnet/images"] == images
    assert found.context["eval/hierarchy_wordnet/classes"] == 2
    # All texts are alike: one noun is taken for both.
    assert found.results["eval/hierarchy_wordnet/tie"] == pytest.approx(1)


def wide_texts(make_model):
  """Gaussians of random means; the variances of texts fall with their words."""
  model = dataclasses.replace(make_model(), space=Gaussian())

  def texts(texts, lift=True):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(len(texts), 3))
    words = np.array([[len(text.split())] * 3 for text in texts])
    rows = np.concatenate([means, -words / 4], axis=1).astype(np.float32)
    return model.lift(rows) if lift else rows

  def images(images, lift=True):
    means = np.array([image.mean(axis=(0, 1)) for image in images]) / 255
    rows = np.concatenate([means, np.full_like(means, -9.0)], axis=1)
    return model.lift(rows.astype(np.float32))

  model.encode_text, model.encode_image = texts, images
  return model


def blind_table(make_model, hyperbolic):
  alike = (1.0, 1.0, 1.0)
  return make_model(hyperbolic, collections.defaultdict(lambda: alike, x=alike))
