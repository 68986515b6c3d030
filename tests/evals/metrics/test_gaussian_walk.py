"""Walks towards a root, against the official numbers of HierarCaps' script."""

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import gaussian_walk
from hyperclip_jax.geometry import gaussian
from tests import golden_files


@pytest.fixture(scope="module")
def golden():
  return {
    key.removeprefix("traversal/"): value
    for key, value in golden_files.arrays("prolip/inference").items()
    if key.startswith("traversal/")
  }


@pytest.mark.parametrize(
  ("name", "place"),
  [
    ("empty", "empty_root"),
    ("included", "included_root"),
    ("both", "included_and_empty_root"),
    # the official option of three captions and "" gives what one alone does
    ("included", "included3_and_empty_root"),
  ],
)
def test_walks_equal_official(name, place, golden):
  texts = gaussian.join(golden["text_mean"], golden["text_l"])
  texts = texts.reshape(-1, texts.shape[-1])
  images = gaussian.join(golden["image_mean"], golden["image_l"])
  empty = golden["empty_mean"]
  empty = gaussian.join(empty, np.zeros_like(empty))
  own = golden["captions"].tolist()
  captions = [text for chain in own for text in chain]
  root = gaussian_walk.roots(images, texts, empty)[name]
  found = gaussian_walk.walk(images, texts, captions, own, root)
  values = 100 * np.array([*found.values()])
  np.testing.assert_allclose(
    values, golden[f"{place}/precision_recall_any"], rtol=1e-12
  )


def test_blocks_do_not_matter(golden, monkeypatch):
  texts = gaussian.join(golden["text_mean"], golden["text_l"])
  texts = texts.reshape(-1, texts.shape[-1])
  images = gaussian.join(golden["image_mean"], golden["image_l"])
  whole = gaussian_walk.including(images, texts)
  monkeypatch.setattr(gaussian_walk, "BLOCK", 1)
  np.testing.assert_array_equal(gaussian_walk.including(images, texts), whole)
