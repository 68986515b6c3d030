"""What is taken is taken in every form; the rest is refused by name."""

import io
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperclip_jax.inference import inputs
from tests.evals import pictures


def sideways():
  """A picture as a phone stores it, and as it should be seen."""
  upright = np.zeros((16, 32, 3), np.uint8)
  upright[:, :16] = 255
  exif = Image.Exif()
  exif[0x112] = 6
  stored = io.BytesIO()
  turned = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
  turned.save(stored, "PNG", exif=exif)
  return stored.getvalue(), upright


def test_every_form_of_an_image_is_the_same_upright(tmp_path):
  data, upright = sideways()
  path = tmp_path / "phone.png"
  path.write_bytes(data)
  at_its_end = io.BytesIO(data)
  at_its_end.read()
  with path.open("rb") as file:
    forms = [
      path, str(path), data, bytearray(data), memoryview(data), at_its_end,
      file, Image.open(path), upright, jnp.asarray(upright),
    ]  # fmt: skip
    for form in forms:
      (one,) = inputs.images(form)
      np.testing.assert_array_equal(inputs.pixels(one), upright)
  assert [inputs.is_file(form) for form in forms] == 7 * [True] + 3 * [False]


def test_tensors_of_torch_are_arrays():
  torch = pytest.importorskip("torch")
  image = torch.zeros((4, 5, 3), dtype=torch.uint8)
  (one,) = inputs.images(image)
  assert inputs.pixels(one).shape == (4, 5, 3)
  (channels_first,) = inputs.images(image.permute(2, 0, 1))
  with pytest.raises(ValueError, match=r"found uint8 \(3, 4, 5\)"):
    inputs.pixels(channels_first)
  with pytest.raises(TypeError, match="cannot become a NumPy array"):
    inputs.images(torch.zeros(3, requires_grad=True))


def test_many_images_in_any_order_that_is_one():
  image = np.zeros((4, 5, 3), np.uint8)
  for many in (
    [image, image], (image, image), np.stack([image, image]),
    iter([image, image]), {"a": image, "b": image}.values(),
    jnp.stack([image, image]),
  ):  # fmt: skip
    assert len(inputs.images(many)) == 2
  names = np.array(["a.png", "b.png"])
  assert inputs.images(names) == ["a.png", "b.png"]
  assert inputs.images([]) == []


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (None, "images is None: give a path"),
    (3, "images is 3 of type int"),
    ([3], "image 0 is 3 of type int: an image is a path"),
    ([np.int64(3)], "image 0 is of type int64: an image is a path"),
    (["a.png", None], "image 1 is None"),
    ([[1, 2]], "image 0 is of type list"),
    ({"a": "b.png"}, "images is of type dict"),
    ({"b.png"}, "images is of type set"),
    ([float("nan")], "image 0 is nan of type float"),
    (object(), "images is of type object"),
  ],
)
def test_what_is_no_image_is_refused_by_name(given, message):
  with pytest.raises(TypeError, match=message):
    inputs.images(given)


@given(
  st.lists(st.integers(0, 50) | st.none() | st.booleans(), min_size=1)
  | st.integers(0, 50)
)
def test_no_number_opens_or_closes_a_file(given):
  read, write = os.pipe()
  os.close(write)
  with pytest.raises(TypeError, match="image"):
    inputs.images([read, *given] if isinstance(given, list) else given)
  os.fstat(read)  # still open
  os.close(read)


@pytest.mark.parametrize(
  "address",
  [
    "https://a.b/c.png",
    "HTTP://a.b",
    "s3://b/c",
    "file:///c",
    "data:image/png",
  ],
)
def test_addresses_are_refused(address):
  with pytest.raises(
    ValueError, match=r"image 1 is the address .* download it"
  ):
    inputs.images(["a.png", address])


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.zeros((4, 4), np.uint8), r"found uint8 \(4, 4\)"),
    (np.zeros((4, 4, 4), np.uint8), r"found uint8 \(4, 4, 4\)"),
    (np.zeros((4, 4, 3), np.float32), r"found float32 \(4, 4, 3\)"),
    (np.zeros((0, 64, 3), np.uint8), r"with pixels; found uint8 \(0, 64, 3\)"),
    (np.zeros((64, 0, 3), np.uint8), r"with pixels; found uint8 \(64, 0, 3\)"),
    (Image.new("RGB", (9, 9)).crop((5, 5, 5, 5)), "an image of 0 x 0 pixels"),
    (b"", "image: cannot decode 0 bytes"),
    (b"<html>", "image: cannot decode 6 bytes"),
  ],
)
def test_images_without_content_are_refused(image, message):
  (one,) = inputs.images(image)
  with pytest.raises(ValueError, match=message):
    inputs.pixels(one)


def test_a_file_of_text_is_no_image():
  with pytest.raises(TypeError, match="'a' of type str: open images as binary"):
    inputs.pixels(io.StringIO("a"))


def test_files_are_named(tmp_path, monkeypatch):
  path = tmp_path / "bad.jpg"
  path.write_bytes(b"<html>")
  with pytest.raises(inputs.ImageError, match=r"bad\.jpg: cannot decode"):
    inputs.decode_file(path)
  with pytest.raises(FileNotFoundError, match=r"no\.jpg"):
    inputs.decode_file(tmp_path / "no.jpg")
  with pytest.raises(IsADirectoryError, match=str(tmp_path)):
    inputs.decode_file(tmp_path)
  with pytest.raises(ValueError, match="not a regular file"):
    inputs.decode_file("/dev/null")
  pictures.write(path, pictures.RED)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert inputs.decode_file("~/bad.jpg").shape == (9, 12, 3)


def test_a_file_as_boxes_see_it_is_not_turned(tmp_path):
  data, upright = sideways()
  (tmp_path / "a.png").write_bytes(data)
  assert inputs.decode(data, "a.png").shape == (32, 16, 3)
  assert inputs.decode_file(tmp_path / "a.png").shape == upright.shape


def test_texts_are_strings_in_a_list():
  assert inputs.texts("a dog") == ["a dog"]
  for many in (["a", "b"], ("a", "b"), iter("ab"), np.array(["a", "b"])):
    assert inputs.texts(many) == ["a", "b"]
    assert all(type(text) is str for text in inputs.texts(["a", np.str_("b")]))


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (None, "texts is None: give a list of strings"),
    (b"a dog", "texts is b'a dog' of type bytes"),
    ([b"a dog"], r"texts\[0\] is b'a dog' of type bytes: give strings"),
    (["a", None], r"texts\[1\] is None"),
    (["a", float("nan")], r"texts\[1\] is nan of type float"),
    ([["a"]], r"texts\[0\] is of type list"),
    ({"a"}, "texts is of type set"),
    ({"a": 1}, "texts is of type dict"),
    ([pathlib.Path("a")], r"texts\[0\] is of type PosixPath"),
    (3, "texts is 3 of type int"),
    (np.array("a dog"), "texts is of type ndarray"),
  ],
)
def test_other_texts_are_refused_by_name(given, message):
  with pytest.raises(TypeError, match=message):
    inputs.texts(given)


def test_one_string_is_no_list_of_its_letters():
  with pytest.raises(TypeError, match=r"labels is the string 'cat': .*\['cat'"):
    inputs.strings("labels", "cat")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_rows_of_any_floats(dtype):
  given = (
    jnp.ones((2, 3), dtype) if dtype == "bfloat16" else np.ones((2, 3), dtype)
  )
  for rows in (given, given[0]):
    found = inputs.rows("x", rows, 3)
    assert found.shape == (rows.ndim, 3)
    assert found.dtype in (np.float32, np.float64)
  assert inputs.rows("x", [[1.0, 2.0, 3.0]], 3).shape == (1, 3)


@pytest.mark.parametrize(
  ("given", "error", "message"),
  [
    ("a dog", TypeError, "x is 'a dog' of type str: want embeddings"),
    (["a dog"], TypeError, "x is an array of <U5"),
    (pathlib.Path("a"), TypeError, "x is of type PosixPath"),
    (None, TypeError, "x is an array of object"),
    (np.zeros((2, 3), np.uint8), TypeError, "x is an array of uint8"),
    (np.zeros((2, 4)), ValueError, r"the shape \(2, 4\): want .*\(n, 3\)"),
    (np.zeros((1, 2, 3)), ValueError, r"the shape \(1, 2, 3\)"),
    (np.float32(1), ValueError, r"the shape \(\)"),
    ([[1.0], [1.0, 2.0]], TypeError, "cannot become a NumPy array"),
  ],
)
def test_other_rows_are_refused_by_name(given, error, message):
  with pytest.raises(error, match=message):
    inputs.rows("x", given, 3)


def test_rows_that_are_not_finite_are_counted():
  rows = np.zeros((4, 3))
  inputs.finite("queries", rows)
  rows[2, 1], rows[3, 0] = np.nan, np.inf
  with pytest.raises(ValueError, match=r"queries: 2 of 4 rows .* row 2"):
    inputs.finite("queries", rows)


def test_paths_are_paths(tmp_path):
  assert inputs.paths("a.png") == ["a.png"]
  assert inputs.paths([tmp_path, "a.png"]) == [tmp_path, "a.png"]
  for other in (
    b"a.png",
    np.zeros((2, 2, 3), np.uint8),
    Image.new("RGB", (1, 1)),
  ):
    with pytest.raises(TypeError, match=r"paths\[1\] is .*: give paths"):
      inputs.paths(["a.png", other])
