"""Prompts are checked, and the likeliest labels come first."""

import numpy as np
import pytest

from hyperclip_jax.inference import classify
from hyperclip_jax.inference.classify import Classification


def test_prompts_of_labels():
  found = classify.prompts(["cat", "{dog}"], ["a {}.", "{}"])
  assert found == [["a cat.", "a {dog}."], ["cat", "{dog}"]]


@pytest.mark.parametrize(
  "template",
  ["a photo", "{} and {}", "{name}", "{} {0}", "{{}}", "a } of {}", "{ {}", ""],
)
def test_templates_hold_one_place(template):
  with pytest.raises(ValueError, match=r"must contain \{\} once, and no other"):
    classify.prompts(["cat"], ["{}", template])


@pytest.mark.parametrize(
  ("labels", "templates", "error", "message"),
  [
    ([], ["{}"], ValueError, "labels is empty"),
    (["a"], [], ValueError, "templates is empty"),
    ("cat", ["{}"], TypeError, "labels is the string 'cat': give a list"),
    (["a"], "{}", TypeError, "templates is the string '{}': give a list"),
    (["a", None], ["{}"], TypeError, r"labels\[1\] is None"),
    (["a"], [b"{}"], TypeError, r"templates\[0\] is b'{}' of type bytes"),
  ],
)
def test_misuse_is_named(labels, templates, error, message):
  with pytest.raises(error, match=message):
    classify.prompts(labels, templates)


def test_softmax_is_in_float64_and_survives_any_scale():
  found = classify.softmax(np.array([[0, 1], [1e4, 0]], np.float32))
  assert found.dtype == np.float64
  np.testing.assert_allclose(found[0, 1] / found[0, 0], np.e)
  assert found[1].tolist() == [1, 0]


def test_top_is_of_the_likeliest():
  found = Classification(["a", "b", "c"], np.array([[0.2, 0.5, 0.3]]))
  assert found.top(2) == [[("b", 0.5), ("c", 0.3)]]
  assert len(found.top(9)[0]) == 3
  for k in (0, -1):
    with pytest.raises(ValueError, match=f"k is {k}: give at least 1"):
      found.top(k)
