"""Uncertainty by kind and depth, and what includes what."""

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import inclusion
from hyperclip_jax.geometry import gaussian


def rows(log_var, count=4):
  return gaussian.join(np.eye(4)[:count], np.full((count, 4), float(log_var)))


def test_the_wider_kind_includes_the_narrower():
  embeddings = {
    "image": rows(-4),
    "text": rows(-2),
    "box_image": rows(-3),
    "box_text": rows(0),
  }
  texts = {
    "text": ["a b", "a b c", "c", "d"],
    "box_text": ["x", "x", "y", "d"],  # the last phrase is its caption
  }
  parts = np.array([True, True, True, True])
  found = inclusion.of_records(embeddings, texts, parts)
  assert found["uncertainty"]["box_text"] == pytest.approx(4)
  assert found["uncertainty"]["image"] == pytest.approx(4 * np.exp(-4))
  assert "words_corr" not in found["uncertainty"]  # all captions are alike
  for name in ("text_image", "box_text_text", "box_image_image"):
    assert found["includes"][name] == 1
    assert found["includes"][f"{name}_chance"] == 0.5
  none = inclusion.of_records(embeddings, texts, ~parts)["includes"]
  assert [n for n in none if "_" in n and "se" not in n.split("_")] == [
    "text_image", "text_image_chance"
  ]  # fmt: skip


def test_short_captions_may_be_more_uncertain():
  text = gaussian.join(
    np.eye(4), np.array([[-1.0], [-2], [-3], [-4]]) + [0] * 4
  )
  embeddings = dict.fromkeys(("image", "text", "box_image", "box_text"), text)
  texts = {"text": ["a", "a b", "a b c", "a b c d"], "box_text": ["x"] * 4}
  found = inclusion.of_records(embeddings, texts, np.zeros(4, bool))
  assert found["uncertainty"]["words_corr"] < -0.8


def test_a_hierarchy_is_measured_by_depth():
  parents = {
    "thing": (),
    "animal": ("thing",),
    "cat": ("animal",),
    "car": ("thing",),
  }
  variances = {"thing": 2, "animal": 0, "cat": -3, "car": -1}
  nodes = {name: rows(x, 1)[0] for name, x in variances.items()}
  images = np.concatenate([rows(-5, 1), rows(-2, 1), rows(-2, 1)])
  found = inclusion.of_hierarchy(parents, nodes, images, ["cat", "cat", "car"])
  uncertain, includes = found["uncertainty"], found["includes"]
  assert uncertain["depth_0"] > uncertain["depth_1"] > uncertain["depth_2"]
  assert uncertain["depth_1"] == pytest.approx(4 * (1 + np.exp(-1)) / 2)
  assert includes["parent_child"] == 1
  assert includes["depth_0_image"] == includes["depth_1_image"] == 1
  assert includes["depth_2_image"] == 0.5  # one of two images of a cat
