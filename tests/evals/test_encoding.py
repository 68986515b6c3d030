import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.evals import encoding
from tests.evals import pictures


def test_encode_gives_a_row_an_image(monkeypatch, make_model):
  monkeypatch.setattr(encoding, "CHUNK", 2)
  shades = [np.full((8, 8, 3), 50 * i, np.uint8) for i in range(5)]
  model = make_model(False)
  found = encoding.encode(model, 5, lambda i: (shades[i], str(i)))
  assert found.embeddings.shape == (5, 3)
  assert found.numbers == [0, 1, 2, 3, 4]
  assert found.notes == ["0", "1", "2", "3", "4"]
  assert not found.left_out


def test_long_work_shows_a_bar_on_a_terminal(monkeypatch, make_model, capsys):
  monkeypatch.setattr(encoding, "CHUNK", 1)
  monkeypatch.setattr("sys.stderr.isatty", lambda: True)
  shade = np.zeros((8, 8, 3), np.uint8)
  encoding.encode(make_model(False), 4, lambda i: (shade, None))
  assert not capsys.readouterr().err
  encoding.encode(make_model(False), 5, lambda i: (shade, None))
  assert "images" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_files_are_embedded_in_order(make_model, monkeypatch, tmp_path, count):
  monkeypatch.setattr(encoding, "CHUNK", 2)
  kinds = [pictures.RED, pictures.GREEN, pictures.BLUE] * 2
  paths = [tmp_path / f"{i}.png" for i in range(count)]
  for path, colour in zip(paths, kinds[:count], strict=True):
    pictures.write(path, colour)
  rows, good, bad = encoding.encode_files(
    make_model(False), paths, encoding.squash
  )
  assert (good, bad) == ([*range(count)], {})
  expected = np.argmax(kinds[:count], axis=1)
  np.testing.assert_array_equal(rows.argmax(axis=1), expected)


def test_bad_files_are_left_out_and_named(make_model, monkeypatch, tmp_path):
  monkeypatch.setattr(encoding, "CHUNK", 2)  # The first chunk is all bad.
  paths = [tmp_path / f"{name}.png" for name in ("bad", "none", "red", "green")]
  paths[0].write_bytes(b"no image")
  pictures.write(paths[2], pictures.RED)
  pictures.write(paths[3], pictures.GREEN)
  rows, good, left_out = encoding.encode_files(
    make_model(False), paths, encoding.squash
  )
  np.testing.assert_array_equal(rows.argmax(axis=1), [0, 1])
  assert good == [2, 3]
  assert list(left_out) == paths[:2]
  assert left_out[paths[0]].startswith("cannot decode")
  assert "No such file" in left_out[paths[1]]
  with pytest.raises(ValueError, match=r"none of 2 images.*bad\.png: cannot"):
    encoding.encode_files(make_model(), paths[:2], encoding.squash)


def test_files_are_turned_upright(tmp_path):
  image = Image.new("RGB", (16, 8), pictures.RED)
  image.paste(pictures.GREEN, (0, 0, 8, 8))
  exif = image.getexif()
  exif[0x0112] = 6  # Stored sideways: its left belongs at the top.
  image.save(tmp_path / "phone.jpg", exif=exif, quality=95)
  pixels = encoding.decode_file(tmp_path / "phone.jpg")
  assert pixels.shape == (16, 8, 3)
  np.testing.assert_allclose(pixels[2, 4], pictures.GREEN, atol=30)


def test_squash_keeps_all_of_the_image():
  image = np.zeros((10, 40, 3), np.uint8)
  image[:, 20:] = 255
  square = encoding.squash(image, 8)
  assert square.shape == (8, 8, 3)
  assert (square[:, :3] == 0).all()
  assert (square[:, 5:] == 255).all()


def test_a_bad_file_is_named(tmp_path):
  path = tmp_path / "bad.jpg"
  path.write_bytes(b"<html>")
  with pytest.raises(ImageError, match=r"bad\.jpg: cannot decode"):
    encoding.decode_file(path)
  pictures.write(path, pictures.RED)
  assert encoding.decode_file(path).shape == (9, 12, 3)
