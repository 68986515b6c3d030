import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.images import ImageError
from hyperclip_jax.evals import files
from tests.evals.data_sets import BLUE, GREEN, RED, paint


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_images_are_embedded_in_order(make_model, monkeypatch, tmp_path, count):
  monkeypatch.setattr(files, "CHUNK", 2)
  colours = [RED, GREEN, BLUE, GREEN, RED][:count]
  paths = [tmp_path / f"{i}.jpg" for i in range(count)]
  for path, colour in zip(paths, colours, strict=True):
    paint(path, colour)
  rows = files.encode_images(make_model(False), paths)
  expected = np.argmax(colours, axis=1)
  np.testing.assert_array_equal(rows.argmax(axis=1), expected)


def test_squares_keep_the_whole_image(tmp_path):
  left, right = np.full((2, 8, 16, 3), [[[RED]], [[BLUE]]], np.uint8)
  Image.fromarray(np.hstack([left, right])).save(tmp_path / "a.png")
  pixels = files.read_square(tmp_path / "a.png")
  assert pixels.shape == (32, 32, 3)
  assert (pixels[:, 0] == RED).all()
  assert (pixels[:, -1] == BLUE).all()


def test_a_damaged_image_is_named(make_model, tmp_path):
  paint(tmp_path / "good.jpg", RED)
  (tmp_path / "bad.jpg").write_bytes(b"no image")
  paths = [tmp_path / "good.jpg", tmp_path / "bad.jpg"]
  with pytest.raises(ImageError, match=r"bad\.jpg: cannot decode"):
    files.encode_images(make_model(), paths)


def test_what_is_missing_is_told_and_counted(tmp_path):
  files.require([tmp_path], "")
  absent = [tmp_path / "a", tmp_path / "b"]
  with pytest.raises(FileNotFoundError, match=r"/a: no such.*\(2 are missing"):
    files.require([tmp_path, *absent], "")
  with pytest.raises(FileNotFoundError, match=r"a: no such.*folder\.\nGet it"):
    files.require(absent[:1], "Get it there")


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
