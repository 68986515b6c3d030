import numpy as np
import pytest

from hyperclip_jax.evals.metrics import caption_entailment as module


def test_entailment_pairs_by_hand(make_model):
  # Two chains of one image, and one of another that repeats a caption of it.
  captions = [("a", "b", "c", "d"), ("a", "b", "e", "f"), ("b", "x", "x", "y")]
  model, calls = make_model(), []

  def record(general, specific):
    calls.append(np.concatenate([general, specific], axis=1).astype(int))
    return np.arange(len(general), dtype=np.float32)

  model.entailment_score = record
  rows = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
  module.entailment_of_captions(model, rows, captions, np.array([0, 0, 1]))
  texts = [text for chain in captions for text in chain]
  pairs = [[(texts[i], texts[j]) for i, j in call] for call in calls]
  true, turned, foreign = pairs
  assert [pair for pair in true if pair[0] == "x"] == [("x", "y")] * 2
  assert len(true) == 6 + 6 + 5
  assert turned == [(specific, general) for general, specific in true]
  # "b" of the other image cannot be foreign to the first one's captions; the
  # first one's "b" is not to the other's, so level 1 takes none at all there.
  assert foreign == [
    *[("x", "c"), ("x", "d"), ("x", "d")],
    *[("x", "e"), ("x", "f"), ("x", "f")],
    *[("a", "x"), ("a", "x"), ("a", "y")],
    ("c", "y"),
  ]


def test_images_and_captions_by_hand(make_model, monkeypatch):
  captions = [("a", "b"), ("c", "d"), ("e", "b"), ("f", "g")]
  rows = np.arange(8, dtype=np.float32).reshape(4, 2, 1)
  images = np.arange(10, 14, dtype=np.float32)[:, None]
  model, calls = make_model(), []

  def record(general, specific):
    calls.append((general[:, 0].tolist(), specific[:, 0].tolist()))
    own = general[:, 0] // 2 == specific[:, 0] - 10
    return np.where(own, -1, general[:, 0] == 7).astype(np.float32)

  model.entailment_score = record
  result = module.entailment_of_images(model, images, rows, captions)
  assert result == {"ap": 1.0, "auroc": 1.0}
  assert calls == [
    # The third chain ends as the first does, and the other way round.
    ([0, 1, 3, 7], [10] * 4),
    ([2, 3, 1, 5, 7], [11] * 5),
    ([4, 5, 3, 7], [12] * 4),
    ([6, 7, 1, 3, 5], [13] * 5),
  ]
  monkeypatch.setattr(module, "NEGATIVES", 1)
  calls.clear()
  module.entailment_of_images(model, images, rows, captions)
  assert [call[0] for call in calls] == [
    [0, 1, 3],
    [2, 3, 1],
    [4, 5, 3],
    [6, 7, 1],
  ]


def test_the_score_of_an_image_ranks(make_model):
  captions = [("a", "b"), ("c", "d")]
  rows = np.zeros((2, 2, 1), np.float32)
  model = make_model()
  scores = iter(
    [[-3, -1, -2], [-5, 0, -4]]
  )  # Two of a chain, then a foreign one.
  model.entailment_score = lambda *_: np.array(next(scores), np.float32)
  result = module.entailment_of_images(model, rows[:, 0], rows, captions)
  # From the surest: right, foreign, right, foreign, right, right.
  assert result["ap"] == pytest.approx((1 + 2 / 3 + 3 / 5 + 4 / 6) / 4)
  assert result["auroc"] == pytest.approx((2 + 1 + 0 + 0) / 8)
