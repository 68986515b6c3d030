import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps, features

from hyperclip_jax.data.records import colours, images
from tests.data import tars

FRACTION = st.floats(0, 1)


def fit(image, side, white_border):
  """The canvas, which held something else before, and the region."""
  canvas = np.full((side, side, 3), 77, np.uint8)
  return canvas, images.fit(image, canvas, white_border)


def gradient(height, width):
  y, x = np.mgrid[:height, :width]
  red, green = x * 255 // width, y * 255 // height
  return np.stack([red, green, 255 - red], -1).astype(np.uint8)


def encode(image, kind, **options):
  out = io.BytesIO()
  image.save(out, kind, **options)
  return out.getvalue()


def mean_difference(a, b):
  return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_come_back_exactly(kind):
  pixels = gradient(30, 41)
  options = {"lossless": True} if kind == "WEBP" else {}
  data = encode(Image.fromarray(pixels), kind, **options)
  np.testing.assert_array_equal(images.decode(data), pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_modes_agree_with_pillow(mode):
  data = encode(Image.fromarray(gradient(60, 80)).convert(mode), "JPEG")
  found = images.decode(data)
  want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
  assert found.shape == (60, 80, 3)
  assert found.dtype == np.uint8
  assert mean_difference(found, want) < 0.5


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_other_modes_become_rgb(mode):
  image = Image.fromarray(gradient(20, 30)).convert(mode)
  want = np.asarray(image.convert("RGB"))
  np.testing.assert_array_equal(images.decode(encode(image, "PNG")), want)


def test_16_bit_grey_keeps_its_range():
  grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
  found = images.decode(encode(Image.fromarray(grey), "PNG"))
  np.testing.assert_array_equal(found[..., 0], grey >> 8)
  np.testing.assert_array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize(
  ("most", "dtype"),
  [
    *((255, kind) for kind in ("int32", "uint16", "float32")),
    *((65535, kind) for kind in ("int32", "uint16", "float32")),
    (1, "float32"),
  ],
)
@pytest.mark.parametrize("kind", ["TIFF", "PIL"])
def test_wide_greys_are_scaled_by_what_they_hold(most, dtype, kind):
  grey = np.linspace(0, most, 600).reshape(20, 30).astype(dtype)
  image = Image.fromarray(grey)
  if kind == "PIL":
    found = np.asarray(images.to_rgb(image))
  else:
    found = images.decode(encode(image, kind))
  wanted = np.linspace(0, 255, 600).reshape(20, 30)
  np.testing.assert_allclose(found[..., 0], wanted, atol=1)


def test_big_endian_greys_are_scaled_alike():
  image = Image.new("I;16B", (4, 4), 0x8000)
  assert (np.asarray(images.to_rgb(image)) == 128).all()


@pytest.mark.parametrize("value", [-1, 70_000, float("nan"), float("inf")])
def test_greys_of_no_known_scale_are_refused(value):
  grey = np.zeros((4, 4), np.float32)
  grey[1, 1] = value
  with pytest.raises(images.ImageError, match=r"greys from .* scale them"):
    images.to_rgb(Image.fromarray(grey))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(shape):
  empty = np.zeros((*shape, 3), np.uint8)
  with pytest.raises(ValueError, match="pixels is empty"):
    images.center_square(empty, 8)
  with pytest.raises(ValueError, match="pixels is empty"):
    images.crop(empty, (0.0, 0.0, 1.0, 1.0))
  with pytest.raises(ValueError, match="pixels is empty"):
    fit(empty, 8, white_border=True)
  with pytest.raises(ValueError, match="pixels is empty"):
    images.to_rgb(Image.new("RGB", shape))


def chunk(kind, content):
  checksum = zlib.crc32(kind + content)
  size, end = (struct.pack(">I", n) for n in (len(content), checksum))
  return size + kind + content + end


@pytest.mark.parametrize("mebibytes", [2, 20])
@pytest.mark.parametrize(
  "head", [b"iCCPicc\0\0", b"zTXtnote\0\0", b"iTXtnote\0\1\0\0\0"]
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_png_texts_of_any_size_are_not_unpacked(mebibytes, head, where):
  png = encode(Image.fromarray(gradient(30, 41)), "PNG")
  packed = zlib.compress(bytes(mebibytes << 20))
  text = chunk(head[:4], head[4:] + packed)
  at = 33 if where == "before" else len(png) - 12
  with_text = png[:at] + text * 3 + png[at:]
  np.testing.assert_array_equal(images.decode(with_text), gradient(30, 41))


def test_a_png_with_a_large_text_is_turned():
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  png = encode(Image.fromarray(gradient(30, 41)), "PNG", exif=exif)
  text = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2 << 20)))
  found = images.decode(png[:33] + text + png[33:], upright=True)
  np.testing.assert_array_equal(found, np.rot90(gradient(30, 41), -1))


@pytest.mark.parametrize("cut", [8, 20, 33, 60])
def test_a_cut_png_is_an_image_error(cut):
  png = encode(Image.fromarray(gradient(30, 41)), "PNG")
  with pytest.raises(images.ImageError):
    images.decode(png[:cut])


AVIF = pytest.mark.skipif(
  "avif" not in features.get_supported_modules(), reason="a Pillow without AVIF"
)


@AVIF
def test_avif_is_read():
  pixels = gradient(40, 60)
  data = encode(Image.fromarray(pixels), "AVIF", quality=95)
  assert mean_difference(images.decode(data), pixels) < 4


@AVIF
def test_avif_is_bounded_by_its_header(monkeypatch):
  data = encode(Image.fromarray(gradient(40, 60)), "AVIF")
  monkeypatch.setattr(colours, "MAX_PIXELS", 1000)
  with pytest.raises(images.TooLargeError, match="60 x 40 pixels"):
    images.decode(data)


def test_heic_is_named():
  heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
  with pytest.raises(images.ImageError, match=r"HEIC.* convert it to JPEG"):
    images.decode(heic)


def test_large_pictures_share_a_budget_of_memory(monkeypatch):
  held = []

  class Budget:
    @contextlib.contextmanager
    def taken(self, count):
      held.append(count)
      yield

  monkeypatch.setattr(images, "_MEMORY", Budget())
  monkeypatch.setattr(images, "_SMALL", 1000)
  for kind in ("JPEG", "PNG"):
    images.decode(encode(Image.fromarray(gradient(10, 10)), kind))
  assert held == []
  for kind in ("JPEG", "PNG"):
    images.decode(encode(Image.fromarray(gradient(50, 50)), kind))
  assert held == [50 * 50 * 9, 50 * 50 * 20]


def test_transparency_is_laid_on_white():
  pixels = np.zeros((4, 4, 4), np.uint8)
  pixels[:2, :, 3] = 255
  rgba = Image.fromarray(pixels)
  found = images.decode(encode(rgba, "PNG"))
  assert (found[:2] == 0).all()
  assert (found[2:] == 255).all()
  palette = Image.new("P", (4, 4), 0)
  palette.putpalette([0, 0, 0, 9, 9, 9])
  assert (images.decode(encode(palette, "PNG", transparency=0)) == 255).all()


def test_scaled_decoding_never_yields_smaller():
  data = simplejpeg.encode_jpeg(gradient(900, 1300), 95)
  for min_side, short in ((100, 113), (224, 225), (450, 450), (451, 900)):
    found = images.decode(data, min_side=min_side)
    assert min_side <= min(found.shape[:2]) <= short
  assert images.decode(data, min_side=5000).shape == (900, 1300, 3)
  assert images.decode(data).shape == (900, 1300, 3)
  small = np.asarray(
    Image.fromarray(gradient(900, 1300)).resize(found.shape[1::-1])
  )
  assert mean_difference(images.decode(data, min_side=451), small) < 2


def test_header_is_checked_before_decoding(monkeypatch):
  def never(*args, **kwargs):
    raise AssertionError("decoded an image that is too large")

  monkeypatch.setattr(colours, "MAX_PIXELS", 1000)
  image = Image.fromarray(gradient(32, 33))
  data = [encode(image, "PNG"), encode(image, "JPEG")]
  monkeypatch.setattr(Image.Image, "load", never)
  monkeypatch.setattr(simplejpeg, "decode_jpeg", never)
  for each in data:
    with pytest.raises(images.ImageError, match="33 x 32 pixels; the most is"):
      images.decode(each)


def test_a_bomb_is_an_image_error():
  bomb = encode(Image.new("1", (10_000, 10_000)), "PNG")
  with pytest.raises(images.ImageError):
    images.decode(bomb)


PNG = encode(Image.fromarray(gradient(16, 16)), "PNG")
JPEG = tars.jpeg()
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"


@pytest.mark.parametrize(
  "data", [b"", b"text", PNG[:60], JPEG[:20], JPEG[:-300], EPS]
)
def test_bad_bytes_are_image_errors(data):
  with pytest.raises(images.ImageError, match="cannot decode"):
    images.decode(data)


@settings(max_examples=200, deadline=None)
@given(
  st.sampled_from([PNG, JPEG]),
  st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
)
def test_damage_gives_pixels_or_an_image_error(data, changes):
  damaged = bytearray(data)
  for position, value in changes:
    damaged[position % len(damaged)] = value
  try:
    found = images.decode(bytes(damaged))
  except images.ImageError:
    return
  assert found.dtype == np.uint8


@given(
  FRACTION, FRACTION, FRACTION, FRACTION, st.integers(1, 70), st.integers(1, 70)
)
def test_crop_covers_the_box_and_no_more(a, b, c, d, height, width):
  x1, x2 = sorted((a, b))
  y1, y2 = sorted((c, d))
  image = gradient(height, width)
  found = images.crop(image, (x1, y1, x2, y2))
  assert np.shares_memory(found, image)
  assert min(found.shape[:2]) >= 1
  assert (x2 - x1) * width - 1e-5 <= found.shape[1] < (x2 - x1) * width + 2
  assert (y2 - y1) * height - 1e-5 <= found.shape[0] < (y2 - y1) * height + 2


def test_crop_of_whole_pixels_is_exact():
  image = gradient(100, 100)
  for left in range(99):
    box = (left / 100, 0.07, (left + 1) / 100, 0.14)
    want = image[7:14, left : left + 1]
    np.testing.assert_array_equal(images.crop(image, box), want)


@pytest.mark.parametrize("white_border", [False, True])
@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (32, 32), (1, 5)])
def test_fit_keeps_small_images(shape, white_border):
  image = np.maximum(gradient(*shape), 1)
  out, region = fit(image, 32, white_border)
  assert out.shape == (32, 32, 3)
  assert region.dtype == np.float32
  x0, y0, x1, y1 = region.astype(int)
  inside = out[y0:y1, x0:x1]
  if white_border:
    side = max(shape)
    assert (x0, y0, x1, y1) == (0, 0, side, side)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    want = np.full((side, side, 3), 255, np.uint8)
    want[top : top + shape[0], left : left + shape[1]] = image
  else:
    assert (x0, y0, x1, y1) == (0, 0, shape[1], shape[0])
    want = image
  np.testing.assert_array_equal(inside, want)
  assert (out[y1:] == 0).all()
  assert (out[:, x1:] == 0).all()


def test_fit_shrinks_large_images_as_pillow():
  image = gradient(300, 500)
  out, region = fit(image, 100, white_border=False)
  assert region.tolist() == [0, 0, 100, 60]
  want = Image.fromarray(image).resize((100, 60), Image.Resampling.BICUBIC)
  assert mean_difference(out[:60], want) < 0.5
  assert (out[60:] == 0).all()
  sliver, region = fit(gradient(2, 900), 100, white_border=True)
  assert region.tolist() == [0, 0, 100, 100]
  assert (sliver[:49] == 255).all()


def crops(regions, seed=0, scale=(0.5, 1.0)):
  random = np.random.default_rng(seed).random((len(regions), images.DRAWS))
  regions = np.array(regions, np.float32)
  return images.random_resized_crops(random, regions, scale)


@given(
  st.integers(0, 2**32),
  st.integers(0, 50),
  st.integers(1, 300),
  st.integers(1, 300),
)
def test_random_crop_is_whole_pixels_inside_the_region(seed, x, width, height):
  region = [x, 3, x + width, 3 + height]
  (crop,) = crops([region], seed)
  assert crop.dtype == np.float32
  assert (crop == np.round(crop)).all()
  assert region[0] <= crop[0] < crop[2] <= region[2]
  assert region[1] <= crop[1] < crop[3] <= region[3]


def test_random_crop_has_torchvisions_distribution():
  found = crops([[0, 0, 400, 400]] * 4000)
  width, height = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
  share = width * height / 400**2
  assert 0.49 < share.min() < 0.51
  # Uniform on (.5, 1), thinned where a large area does not fit its aspect:
  # P(fit | area s) = min(1, -ln s / ln(4/3)), so the mean is 0.6916;
  # its standard error here is 0.002.
  assert abs(share.mean() - 0.6916) < 0.006
  assert abs(np.log(width / height).mean()) < 0.01
  assert abs(np.log(width / height)).max() < np.log(4 / 3) + 0.01
  free = 400 - width
  assert abs((found[:, 0][free > 0] / free[free > 0]).mean() - 0.5) < 0.02


@pytest.mark.parametrize(
  ("size", "want"),
  [
    ((400, 100), [134, 0, 267, 100]),
    ((100, 400), [0, 134, 100, 267]),
  ],
)
def test_random_crop_falls_back_to_the_centre(size, want):
  found = crops([[0, 0, *size]], scale=(0.9, 1.0))
  np.testing.assert_allclose(found, [want], atol=1)


def test_random_crops_of_a_batch_do_not_touch_each_other():
  regions = [[0, 0, 400, 100], [5, 3, 205, 153], [0, 0, 1, 1]]
  alone = [crops([[0, 0, 9, 9]] * i + regions[i:])[i] for i in range(3)]
  np.testing.assert_array_equal(crops(regions), alone)


def test_a_jpeg_of_the_canvas_size_is_decoded_in_place():
  data = simplejpeg.encode_jpeg(gradient(40, 40))
  canvas = np.zeros((40, 40, 3), np.uint8)
  assert images.decode(data, 0, canvas) is canvas
  np.testing.assert_array_equal(canvas, images.decode(data))
  region = images.fit(canvas, canvas, white_border=True)
  assert region.tolist() == [0, 0, 40, 40]
  other = np.zeros((41, 40, 3), np.uint8)
  assert images.decode(data, 0, other).shape == (40, 40, 3)
  assert not other.any()


def test_center_square_is_resize_then_centre_crop():
  pixels = (np.random.default_rng(0).random((48, 80, 3)) * 255).astype(np.uint8)
  resized = Image.fromarray(pixels).resize((40, 24), Image.Resampling.BICUBIC)
  want = np.asarray(resized.crop((8, 0, 32, 24)))
  found = images.center_square(pixels, 24)
  assert np.abs(found.astype(int) - want).max() <= 1
  assert images.center_square(found, 24) is found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_turned_once(orientation):
  tags = {ExifTags.Base.Orientation: orientation, 305: "Exif of a scanner"}
  image = Image.fromarray(gradient(24, 40))
  out = io.BytesIO()
  image.save(out, "TIFF", tiffinfo=tags)
  with Image.open(io.BytesIO(out.getvalue())) as stored:
    wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
  found = images.decode(out.getvalue(), upright=True)
  np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_images_are_turned_as_pillow_turns_them(kind, orientation):
  rng = np.random.default_rng(orientation)
  stored = Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8))
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = orientation
  out = io.BytesIO()
  stored.save(out, kind, exif=exif, lossless=True)
  data = out.getvalue()
  as_stored = images.decode(data)
  with Image.open(io.BytesIO(data)) as image:
    wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
  found = images.decode(data, upright=True)
  assert as_stored.shape == (24, 40, 3)
  assert found.shape == wanted.shape
  np.testing.assert_allclose(found.astype(int), wanted, atol=3)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("turn", [1, 3, 6])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_the_size_in_the_header_is_that_of_the_pixels(form, turn, upright):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = turn
  tagged = {} if form in ("GIF", "BMP") else {"exif": exif}
  out = io.BytesIO()
  Image.new("RGB", (40, 24)).save(out, form, **tagged)
  data = out.getvalue()
  height, width, _ = images.decode(data, upright=upright).shape
  assert images.size(data, upright) == (width, height)


def test_a_jpeg_that_decodes_has_a_size():
  data = tars.jpeg(1)
  end = data.index(b"\xff\xdb")
  odd = data[:end] + b"between segments" + data[end:]
  assert images.decode(odd).shape == (48, 64, 3)
  assert images.size(odd) == (64, 48)
  with pytest.raises(images.ImageError, match="no image header"):
    images.size(data[:end])
