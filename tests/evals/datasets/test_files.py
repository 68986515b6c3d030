import pytest

from hyperclip_jax.evals.datasets import files
from hyperclip_jax.evals.tasks import MissingData


def test_what_is_missing_is_told_and_counted(tmp_path):
  source = files.Source("pets", "https://pets.org", "pets/*.jpg")
  files.require([tmp_path], source)
  absent = [tmp_path / "a", tmp_path / "b"]
  with pytest.raises(MissingData, match=r"lacks\n.*/a \(2 are missing\)\nGet"):
    files.require([tmp_path, *absent], source)
  with pytest.raises(MissingData, match=r"/a\nGet it from\nhttps://pets") as e:
    files.require(absent[:1], source)
  assert (e.value.name, e.value.layout) == ("pets", "pets/*.jpg")


def test_unique():
  items, rows = files.unique(["b", "a", "b"])
  assert (items, rows.tolist()) == (["b", "a"], [0, 1, 0])
