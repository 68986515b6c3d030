"""Prompts that are chosen by uncertainty, or by images of a pool."""

import numpy as np
import pytest

from hyperclip_jax.evals.metrics import prompts
from hyperclip_jax.evals.metrics.prompts import Pool
from hyperclip_jax.geometry import gaussian

# Two classes of three prompts: the second of class 0 points at class 1.
MEANS = np.array(
  [
    [[1, 0, 0], [0, 1, 0], [0.9, 0, 0.1]],
    [[0, 1, 0], [0, 0.9, 0.1], [0, 0.8, 0.6]],
  ]
)
LOG_VARS = np.log(
  [[[0.3] * 3, [0.1] * 3, [0.2] * 3], [[0.2] * 3, [0.3] * 3, [0.4] * 3]]
)
TEMPLATES = gaussian.join(MEANS, LOG_VARS)
IMAGES = gaussian.join(
  np.repeat(np.eye(3)[:2], 6, axis=0), np.full((12, 3), -9.0)
)
LABELS = np.repeat([0, 1], 6)


def test_the_greedy_choice_classifies_the_pool_best():
  kept = prompts.most_accurate(TEMPLATES, IMAGES, LABELS, 2)
  assert kept[0].tolist() == [True, False, True]
  # All of class 1 do, and the least uncertain are kept.
  assert kept[1].tolist() == [True, True, False]
  with pytest.raises(ValueError, match="count is 0"):
    prompts.most_accurate(TEMPLATES, IMAGES, LABELS, 0)


def test_the_greedy_choice_equals_trying_each_prompt():
  rng = np.random.default_rng(0)
  rows = gaussian.join(
    rng.normal(size=(4, 3, 5)), 0.1 * rng.normal(size=(4, 3, 5))
  )
  means = rng.normal(size=(40, 5))
  images = gaussian.join(means, np.zeros((40, 5)))
  labels = rng.integers(0, 4, 40)
  averages = gaussian.means(prompts.filters.classes(rows))
  kept = prompts.most_accurate(rows, images, labels, 1)
  for k in range(4):
    right = []
    for prompt in gaussian.means(rows[k]):
      classes = averages.copy()
      classes[k] = prompt
      right.append(((means @ classes.T).argmax(axis=1) == labels).mean())
    assert right[int(np.flatnonzero(kept[k])[0])] == max(right)


def test_rules_are_named_by_the_split_of_the_pool():
  def accuracy(classes):
    assert classes.shape == (2, 6)
    return {"top1": 0.5, "top1_cosine": 0.25}

  scored = IMAGES + 1e-3
  found = prompts.measures(TEMPLATES, scored, accuracy, None)
  assert [*found] == [
    f"prompts/{rule}_{name}"
    for rule in ("lowest_half", "lowest_half_of_all", "below_mean")
    for name in ("top1", "top1_cosine")
  ]
  pool = Pool("train", IMAGES, LABELS)
  found = prompts.measures(TEMPLATES, scored, accuracy, pool)
  assert found["prompts/few_shot_by_train_top1"] == 0.5
  assert found["prompts/unlabelled_by_train_top1_cosine"] == 0.25
  assert found["prompts/most_accurate_by_train_top1"] == 0.5


def test_a_pool_that_is_too_small_leaves_rules_out(caplog):
  pool = Pool("train", IMAGES[:8], LABELS[:8])  # two of class 1
  scored = IMAGES + 1e-3
  found = prompts.measures(TEMPLATES, scored, lambda c: {"top1": 0.5}, pool)
  assert not any("few_shot" in name or "unlabelled" in name for name in found)
  assert "2 images of class 1, 5 are wanted" in caplog.text
