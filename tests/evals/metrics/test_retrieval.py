import numpy as np
import pytest

from hyperclip_jax.evals.metrics import retrieval as module

retrieval = module.retrieval


def around_the_clock(n):
  angle = np.arange(n, dtype=np.float32) * 2 * np.pi / n
  return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_perfect_and_shifted_pairs(make_model, monkeypatch, hyperbolic):
  monkeypatch.setattr(module, "BATCH", 5)  # Twelve rows: an uneven last batch.
  model = make_model(hyperbolic)
  x = around_the_clock(12)
  perfect = {"i2t_r1": 1.0, "i2t_r5": 1.0, "t2i_r1": 1.0, "t2i_r5": 1.0}
  assert retrieval(model, x, x) == perfect
  # Each right caption is 2.1 steps away: behind 0, +1, -1 and +2, before -2.
  turn = 2.1 * 2 * np.pi / 12
  turn = np.array(
    [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], np.float32
  )
  result = retrieval(model, x, x @ turn, ks=(1, 4, 5))
  assert [result[f"i2t_r{k}"] for k in (1, 4, 5)] == [0, 0, 1]
  assert [result[f"t2i_r{k}"] for k in (1, 4, 5)] == [0, 0, 1]


def test_several_captions_an_image(make_model):
  model = make_model(hyperbolic=False)
  images = np.eye(2, dtype=np.float32)
  texts = np.array([[0.6, 0.8], [1, 0], [0, 1]], np.float32)
  # Image 0 owns the first two: its worse one lies nearer to image 1.
  result = retrieval(model, images, texts, ks=(1, 2), owner=[0, 0, 1])
  assert result["i2t_r1"] == 1.0
  assert result["t2i_r1"] == pytest.approx(2 / 3)
  assert result["t2i_r2"] == 1.0


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_collapsed_model_scores_nothing(make_model, value):
  x = np.full((20, 4), value, np.float32)
  assert set(retrieval(make_model(), x, x).values()) == {0.0}


def test_one_nan_text_is_not_found_and_hides_others(make_model):
  x = around_the_clock(4)
  texts = x.copy()
  texts[0] = np.nan
  result = retrieval(make_model(), x, texts, ks=(1, 2))
  assert result["t2i_r1"] == 0.75
  assert (result["i2t_r1"], result["i2t_r2"]) == (0.0, 0.75)


@pytest.mark.parametrize("owner", [[0, 0, 0], [0, 1, 2], [0, 1, -1]])
def test_owners_must_cover_the_images(make_model, owner):
  with pytest.raises(ValueError, match="3 captions must cover the 2 images"):
    retrieval(
      make_model(), around_the_clock(2), around_the_clock(3), (1,), owner
    )
