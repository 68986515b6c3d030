import numpy as np
import pytest

from hyperclip_jax.evals.metrics import norms


def test_distances_and_statistics(make_model):
  model = make_model(curv=0.5)
  tangents = np.array([[0, 3], [1, 0], [0, 2]], np.float32)
  embeddings = {
    "image": model.lift(tangents[:1]),
    "text": model.lift(tangents[1:]),
  }
  found = norms.distances(model.space, embeddings)
  assert list(found) == ["image", "text"]
  np.testing.assert_allclose(found["image"], [3], rtol=1e-6)
  np.testing.assert_allclose(found["text"], [1, 2], rtol=1e-6)
  result = norms.norms(model.space, embeddings)
  expected = {"mean": 1.5, "std": 0.5, "p5": 1.05, "median": 1.5, "p95": 1.95}
  for name, value in expected.items():
    assert result[f"text_{name}"] == pytest.approx(value, rel=1e-6)
  assert len(result) == 10


def test_bins_are_shared_and_count_what_is_finite():
  distances = {
    "image": np.array([0.0, 1.0, 2.0, np.nan, np.inf], np.float32),
    "text": np.array([0.51, 0.99], np.float32),
  }
  found = norms.bins(distances)
  edges = np.array(found["bin_edges"])
  np.testing.assert_allclose(edges, np.linspace(0, 2, 61), rtol=1e-12)
  image = np.array(found["image_bins"])
  assert list(np.flatnonzero(image)) == [0, 30, 59]
  assert image.sum() == 3
  assert list(np.flatnonzero(found["text_bins"])) == [15, 29]


def test_bins_lie_between_the_closest_distances():
  one = np.float32(1)
  found = norms.bins({"image": np.array([one, np.nextafter(one, one * 2)])})
  assert found["image_bins"][0] == found["image_bins"][-1] == 1


def test_without_hyperbolic_geometry_all_kinds_share_one_root(make_model):
  model = make_model(hyperbolic=False)
  embeddings = {
    "image": np.array([[1.0, 0.0]], np.float32),
    "text": np.array([[0.0, 1.0]], np.float32),
  }
  # Each lies 45 degrees from the common mean; alone, each would be at zero.
  for rows in norms.distances(model.space, embeddings).values():
    np.testing.assert_allclose(rows, [1 - 0.5**0.5], rtol=1e-6)
