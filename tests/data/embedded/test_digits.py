"""Scikit-learn's digits as tars that training reads."""

import sys

import numpy as np
import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.data import long_tail
from hyperclip_jax.data.embedded import digits
from hyperclip_jax.data.records import images, shards

pytest.importorskip("sklearn")


def test_classes_are_balanced_and_nothing_is_in_both_parts():
  found = digits.load()
  assert len(found.train) + len(found.val) == 1797
  for labels in (found.train_labels, found.val_labels):
    counts = np.bincount(labels)
    assert len(counts) == 10
    assert np.ptp(counts) <= 8
  rows = {image.tobytes() for image in found.train}
  assert not any(image.tobytes() in rows for image in found.val)


def test_tars_hold_the_images_and_their_names(tmp_path, capsys):
  assert door.run(["digits", "--output", str(tmp_path)]) == 0
  assert capsys.readouterr().out.strip() == str(tmp_path)
  found = digits.load()
  for name, pictures, labels in (
    ("train", found.train, found.train_labels),
    ("val", found.val, found.val_labels),
  ):
    source = shards.TarSource(shards.expand([f"{tmp_path}/{name}"]), 1)
    assert len(source) == len(labels)
    for number in (0, 7, len(source) - 1):
      record = source[number]
      assert record.caption == digits.NAMES[labels[number]]
      pixels = images.decode(record.image)
      np.testing.assert_array_equal(pixels[..., 1], pictures[number])
  before = (tmp_path / "train/00000.tar").read_bytes()
  digits.write(tmp_path)
  assert (tmp_path / "train/00000.tar").read_bytes() == before


def test_a_long_tail_is_of_training_alone(tmp_path):
  digits.write(tmp_path, imbalance=0.1)
  source = shards.TarSource(shards.expand([f"{tmp_path}/train"]), 1)
  names = [source[i].caption for i in range(len(source))]
  counts = [names.count(name) for name in digits.NAMES]
  most = np.bincount(digits.load().train_labels).max()
  wanted = long_tail.sizes(int(most), 10, 0.1)
  assert np.abs(np.array(counts) - wanted).max() <= 8  # as balanced as they are
  val = shards.TarSource(shards.expand([f"{tmp_path}/val"]), 1)
  assert len(val) == len(digits.load().val)


def test_without_scikit_learn_one_is_told(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
  with pytest.raises(SystemExit, match=r"hyperclip-jax\[digits\]"):
    door.run(["digits", "--output", str(tmp_path)])
