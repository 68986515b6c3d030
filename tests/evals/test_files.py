import pytest

from hyperclip_jax.evals import files
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


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"9" * 5000, "not JSON"),
    (b"\xff\xfe", "not UTF-8"),
  ],
)
def test_damaged_json_is_named(tmp_path, content, match):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=rf"x\.json: {match}"):
    files.read_json(path)


def test_names_lead_nowhere_else(tmp_path):
  assert files.inside(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"
  for name in ("/etc/passwd", "../x", "a/../../x", "", ".", "a\0b", 3, None):
    with pytest.raises(ValueError, match="no file inside the data set"):
      files.inside(tmp_path, name)


def test_unique():
  items, rows = files.unique(["b", "a", "b"])
  assert (items, rows.tolist()) == (["b", "a"], [0, 1, 0])
