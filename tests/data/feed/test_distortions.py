import math

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy import ndimage

from hyperclip_jax.data.feed import distortions
from hyperclip_jax.data.feed.distortions import Options
from tests.data.distortion_references import JITTERS, ROUNDING, hue, photo, unit


def scalar(value):
  return jnp.asarray([value], jnp.float32)


def test_flip_equals_pillow():
  found = distortions.flip(unit(photo()))
  np.testing.assert_array_equal(
    found, unit(ImageOps.mirror(Image.fromarray(photo())))
  )


def test_grayscale_equals_pillow():
  found = np.asarray(distortions.grayscale(unit(photo())))[0] * 255
  want = np.asarray(Image.fromarray(photo()).convert("L"), np.float32)
  # Pillow rounds to a level; its 16-bit weights differ by up to 8e-6.
  assert np.abs(found - want[..., None]).max() < 0.5 + 0.003


@pytest.mark.parametrize("level", [0, 1, 77, 128, 254, 255])
def test_grayscale_keeps_grays(level):
  gray = unit(np.full((2, 3, 3), level))
  np.testing.assert_array_equal(distortions.grayscale(gray), gray)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8, 1.0, 1.4, 3.0])
@pytest.mark.parametrize(
  ("name", "enhance", "levels"),
  [
    ("brightness", ImageEnhance.Brightness, 0),
    ("contrast", ImageEnhance.Contrast, 1),
    ("saturation", ImageEnhance.Color, 0.5),
  ],
)
def test_blends_equal_pillow(name, enhance, levels, factor):
  found = getattr(distortions, name)(unit(photo()), scalar(factor))
  want = np.asarray(enhance(Image.fromarray(photo())).enhance(factor))
  off = np.abs(np.asarray(found)[0] * 255 - want)
  # Pillow cuts the result to a level, and rounds the luma (half a level) and
  # its mean (half a level more) that are blended in with weight 1 - factor.
  assert off.max() < 1 + levels * abs(1 - factor) + 0.01


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8, 1.0, 1.4, 3.0])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends_equal_their_definition(name, factor):
  image = unit(photo())
  found = getattr(distortions, name)(image, scalar(factor))
  want = JITTERS[name](np.asarray(image[0], np.float64), factor)
  np.testing.assert_allclose(found[0], want, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factor_one_changes_nothing(name):
  image = unit(photo())
  found = getattr(distortions, name)(image, scalar(1))
  np.testing.assert_array_equal(found, image)


def test_factor_zero_is_the_other_end():
  image = unit(photo())
  np.testing.assert_array_equal(distortions.brightness(image, scalar(0)), 0)
  np.testing.assert_array_equal(
    distortions.saturation(image, scalar(0)), distortions.grayscale(image)
  )
  assert np.ptp(distortions.contrast(image, scalar(0))) == 0


def test_contrast_takes_the_mean_of_each_image_alone():
  images = jnp.concatenate([unit(photo()), unit(photo()) / 2])
  factors = jnp.asarray([0.0, 0.0])
  first, second = np.asarray(distortions.contrast(images, factors))
  np.testing.assert_allclose(second, first / 2, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
  "factor", [-0.5, -1 / 3, -0.1, -1e-4, 0.0, 1e-4, 1 / 6, 0.25, 0.4, 0.5]
)
def test_hue_equals_colorsys(factor):
  image = unit(photo())
  found = distortions.hue(image, scalar(factor))
  want = hue(np.asarray(image[0], np.float64), factor)
  # The hue is 6 * factor sixths away, rounded at up to 8: 5e-7 of the chroma.
  np.testing.assert_allclose(found[0], want, rtol=0, atol=2 * ROUNDING)


@pytest.mark.parametrize(
  ("turn", "want"), [(1 / 3, "GBR"), (-1 / 3, "BRG"), (1 / 2, "CMY")]
)
def test_hue_turns_saturated_primaries(turn, want):
  named = {
    **{"R": (1, 0, 0), "G": (0, 1, 0), "B": (0, 0, 1)},
    **{"C": (0, 1, 1), "M": (1, 0, 1), "Y": (1, 1, 0)},
  }
  rgb = jnp.asarray([[[named[c] for c in "RGB"]]], jnp.float32)
  found = distortions.hue(rgb, scalar(turn))[0, 0]
  np.testing.assert_allclose(found, [named[c] for c in want], atol=ROUNDING)


def test_hue_keeps_grays():
  grays = jnp.linspace(0, 1, 256)[None, None, :, None]
  grays = jnp.broadcast_to(grays, (1, 1, 256, 3))
  np.testing.assert_array_equal(distortions.hue(grays, scalar(0.3)), grays)


def test_hue_is_continuous_around_red():
  # Just below and above 0 turns, moved across 0, 1/2 and the circle's end.
  reds = jnp.asarray([[[[1, 0, 1e-6], [1, 0, 0], [1, 1e-6, 0]]]], jnp.float32)
  for factor in (-0.5, -1e-7, 0.0, 1e-7, 0.5):
    found = distortions.hue(reds, scalar(factor))[0, 0]
    assert np.ptp(found, axis=0).max() < 4 * ROUNDING


def test_half_a_turn_is_the_same_either_way():
  image = unit(photo())
  np.testing.assert_allclose(
    distortions.hue(image, scalar(0.5)),
    distortions.hue(image, scalar(-0.5)),
    rtol=0,
    atol=2 * ROUNDING,
  )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("radius", [0, 1, 5, 23])  # 23: all but a side of 24
def test_blur_equals_scipy(sigma, radius):
  image = unit(photo())
  found = distortions.gaussian_blur(image, scalar(sigma), radius)
  want = ndimage.gaussian_filter(
    np.asarray(image[0], np.float64),
    sigma,
    radius=radius,
    axes=(0, 1),
    mode="mirror",
  )
  np.testing.assert_allclose(found[0], want, rtol=0, atol=2 * ROUNDING)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.8, 1.2, 1.7, 2.0, 3.0])
def test_box_blur_equals_pillow(sigma):
  blurred = Image.fromarray(photo()).filter(ImageFilter.GaussianBlur(sigma))
  found = distortions.box_blur(unit(photo()), scalar(sigma))
  off = np.abs(np.asarray(found)[0] * 255 - np.asarray(blurred))
  # Pillow rounds to a level after each of six boxes, and boxes shrink errors.
  assert off.max() < 3
  assert off.mean() < 0.6


def test_box_blur_keeps_white_and_takes_one_sigma_for_each_image():
  white = jnp.ones((1, 1, 5, 3))
  np.testing.assert_allclose(
    distortions.box_blur(white, scalar(2.0)), 1, atol=ROUNDING
  )
  images = jnp.stack([unit(photo())[0]] * 2)
  both = distortions.box_blur(images, jnp.asarray([0.1, 2.0]))
  for one, sigma in zip(both, (0.1, 2.0), strict=True):
    alone = distortions.box_blur(images[:1], scalar(sigma))[0]
    np.testing.assert_allclose(one, alone, atol=ROUNDING)


def test_blur_takes_one_sigma_for_each_image():
  images = jnp.concatenate([unit(photo())] * 2)
  sharp, smooth = distortions.gaussian_blur(images, jnp.asarray([0.1, 2.0]), 2)
  np.testing.assert_allclose(sharp, images[0], rtol=0, atol=ROUNDING)
  assert np.abs(smooth - images[1]).max() > 0.1


def test_blur_of_white_is_white():
  white = jnp.ones((1, 24, 24, 3))
  for sigma in np.linspace(0.1, 2, 20):
    found = distortions.gaussian_blur(white, scalar(sigma), 5)
    assert found.max() <= 1
    np.testing.assert_allclose(found, white, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("height", "width"), [(1, 9), (9, 1), (2, 9), (9, 2)])
def test_blur_refuses_sides_it_cannot_mirror(height, width):
  image = jnp.zeros((1, height, width, 3))
  with pytest.raises(
    ValueError, match=rf"radius 2 .* found {height} x {width}"
  ):
    distortions.gaussian_blur(image, scalar(1), 2)
  found = distortions.gaussian_blur(image, scalar(1), min(height, width) - 1)
  assert found.shape == image.shape


def test_solarize_equals_pillow():
  levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
  want = ImageOps.solarize(Image.fromarray(levels), 128)
  found = np.asarray(distortions.solarize(unit(levels)))[0] * 255
  np.testing.assert_allclose(found, want, rtol=0, atol=255 * ROUNDING)


def test_solarize_inverts_from_the_threshold_on():
  image = jnp.full((1, 1, 1, 3), 0.75)
  np.testing.assert_array_equal(distortions.solarize(image, 0.75), 0.25)
  np.testing.assert_array_equal(distortions.solarize(image, 0.76), 0.75)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"flip": 1.5}, r"flip must be at most 1, found 1.5"),
    ({"blur": -0.1}, r"blur must .* found -0.1"),
    ({"grayscale": math.nan}, r"grayscale must .* found nan"),
    ({"hue": 0.6}, r"hue must be at most 0.5, found 0.6"),
    ({"contrast": math.inf}, r"contrast must be finite .* found inf"),
    ({"saturation": -1.0}, r"saturation must .* found -1.0"),
    ({"jitter": 0.8}, r"jitter = 0.8 changes nothing: give brightness"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    Options(**options)
