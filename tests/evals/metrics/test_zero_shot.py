import dataclasses

import numpy as np
import pytest

from hyperclip_jax.evals import rates
from hyperclip_jax.evals.metrics import zero_shot
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.inference import classify

TABLE = {
  "a red": (1, 0, 0),
  "big red": (3, 0, 0),
  "a green": (0, 1, 0),
  "big green": (0, 3, 0),
  "a blue": (0, 0, 1),
  "big blue": (0, 0, 3),
}
NAMES = ("red", "green", "blue")
TEMPLATES = ("a {}", "big {}")


def paint(*colours):
  return [np.full((2, 2, 3), colour, np.uint8) for colour in colours]


def test_prompts_are_averaged_in_the_tangent_space(make_model):
  model = make_model(table=TABLE, curv=0.5)
  classes = classify.class_embeddings(model, NAMES, TEMPLATES)
  # A tangent of length 2 is a point at distance 2; the average of the points
  # at 1 and 3 lies further out.
  np.testing.assert_allclose(model.distance_to_root(classes), 2.0, rtol=1e-6)
  assert classes.dtype == np.float32


def test_clip_prompts_are_averaged_as_unit_vectors(make_model):
  table = {"a x": (5, 0), "big x": (0, 1)}
  model = make_model(hyperbolic=False, table=table)
  classes = classify.class_embeddings(model, ["x"], TEMPLATES)
  np.testing.assert_allclose(classes, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_accuracy_is_the_mean_over_classes(make_model, hyperbolic):
  model = make_model(hyperbolic, TABLE)
  red, green = (250, 10, 0), (10, 250, 0)
  # Three of three reds, none of one green; blue has no image.
  images = paint(red, red, red, red)
  result = zero_shot.zero_shot(model, images, [0, 0, 0, 1], NAMES, TEMPLATES)
  assert result == {"top1": 0.5, "top5": 1.0}
  embeddings = model.encode_image(paint(red, green))
  assert zero_shot.zero_shot(model, embeddings, [0, 1], NAMES, TEMPLATES) == {
    "top1": 1.0,
    "top5": 1.0,
  }


def test_top5_is_the_five_nearest(make_model, monkeypatch):
  monkeypatch.setattr(zero_shot, "BATCH", 2)
  names = [str(i) for i in range(7)]
  table = {n: (np.cos(i / 5), np.sin(i / 5)) for i, n in enumerate(names)}
  model = make_model(False, table)
  images = model.encode_text(["0"] * 7)
  labels = np.arange(7)
  result = zero_shot.zero_shot(model, images, labels, names, ["{}"])
  assert result == pytest.approx({"top1": 1 / 7, "top5": 5 / 7})


def test_predict_names_the_nearest_class(make_model):
  model = make_model(table=TABLE)
  classes = classify.class_embeddings(model, NAMES, TEMPLATES)
  images = model.encode_image(paint((0, 0, 200), (200, 0, 0)))
  assert zero_shot.predict(model, images, classes).tolist() == [2, 0]


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_collapsed_model_scores_chance(make_model, value):
  model = make_model(table=dict.fromkeys(TABLE, (value, value, value)))
  images = np.full((3, 3), value, np.float32)
  result = zero_shot.zero_shot(model, images, [0, 1, 2], NAMES, TEMPLATES)
  assert result["top1"] == pytest.approx(1 / 3)


def test_wrong_input_is_named(make_model):
  model = make_model(table=TABLE)
  images = np.zeros((1, 3), np.float32)
  with pytest.raises(ValueError, match=r"3\.\.3.*3 class names"):
    zero_shot.zero_shot(model, images, [3], NAMES, TEMPLATES)
  with pytest.raises(ValueError, match="templates is empty"):
    zero_shot.zero_shot(model, images, [0], NAMES, ())
  for template in ("a photo", "a {{}}", "a {c}", "a } {}"):
    with pytest.raises(ValueError, match=r"template .* must contain \{\} once"):
      zero_shot.zero_shot(model, images, [0], NAMES, [template])
  with pytest.raises(TypeError, match="labels is the string 'red'"):
    zero_shot.zero_shot(model, images, [0], "red", TEMPLATES)
  with pytest.raises(ValueError, match="0 images for 0 labels"):
    zero_shot.zero_shot(model, images[:0], [], NAMES, TEMPLATES)
  with pytest.raises(ValueError, match="1 images for 2 labels"):
    zero_shot.zero_shot(model, images, [0, 1], NAMES, TEMPLATES)


def test_an_ensemble_is_measured_by_each_projector_and_all_weights(make_model):
  """z knows the first image, h the second; together they are right."""
  table = {"a x": (1, 0, 1, 0), "a y": (0, 1, 0, 1)}
  model = dataclasses.replace(make_model(table=table), space=Ensemble(0.5))
  rows = np.array([[1, 0, 0.6, 0.8], [1, 0.9, 0, 1]], np.float32)
  images, labels, names = model.lift(rows), np.arange(2), ["x", "y"]
  rate = zero_shot.accuracies(model.space, images, labels)
  found = zero_shot.measures(model, images, names, ["a {}"], rate, "top1")
  assert (found["top1_z"], found["top1_h"]) == (0.5, 0.5)
  assert found["top1"] == found["top1_w0.5"] == 1
  assert sum("top1_" in name for name in rates.measured(found)) == 11
  for space in (Sphere(), Ensemble(1.0)):
    other = dataclasses.replace(model, space=space)
    found = zero_shot.measures(other, images, names, ["a {}"], rate, "top1")
    assert [*rates.measured(found)] == ["top1", "top5"]
