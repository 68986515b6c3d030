"""What `augment` draws, what it traces and where it runs."""

import colorsys
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hyperclip_jax.data.feed import distortions
from hyperclip_jax.data.feed.distortions import Options
from tests.data.distortion_references import JITTERS, ROUNDING, photo, repeated

# Every distortion alone, each of which changes `photo` where it happens.
ALONE = {
  "flip": Options(flip=0.5),
  "jitter": Options(
    jitter=0.5, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.5
  ),
  "grayscale": Options(grayscale=0.5),
  "blur": Options(blur=0.5),
  "solarize": Options(solarize=0.5),
}
ALL = Options(
  flip=0.5,
  jitter=0.5,
  brightness=0.8,
  contrast=0.8,
  saturation=0.8,
  hue=0.5,
  grayscale=0.5,
  blur=0.5,
  solarize=0.5,
)


def augment(images, seeds, options):
  seeds = jnp.asarray(seeds, jnp.uint32)
  images = jnp.asarray(images, jnp.float32)
  return np.asarray(distortions.augment(images, seeds, options))


def deviation(count, width=1.0):
  """What the mean of `count` draws in a range stays within: Hoeffding, 1e-9."""
  return width * math.sqrt(math.log(2e9) / (2 * count))


def test_nothing_by_default():
  images = repeated(photo(), 4)
  np.testing.assert_array_equal(augment(images, range(4), Options()), images)


@pytest.mark.parametrize(
  ("options", "want"),
  [
    (Options(flip=1.0), distortions.flip),
    (Options(grayscale=1.0), distortions.grayscale),
    (Options(solarize=1.0), distortions.solarize),
  ],
)
def test_probability_one_is_always(options, want):
  images = repeated(photo(12, 6), 2048)
  found = augment(images, range(2048), options)
  want = np.asarray(jax.jit(want)(jnp.asarray(images[:1])))
  # Fused differently, the luma may differ by its last bit.
  np.testing.assert_allclose(found - want, 0, rtol=0, atol=ROUNDING)


@pytest.fixture(scope="module")
def happened():
  """(seed, distortion): where each one alone, at 1/2, changed the image."""
  count = 4096
  images = repeated(photo(12, 6), count)
  return np.stack(
    [
      (augment(images, range(count), options) != images).any((1, 2, 3))
      for options in ALONE.values()
    ],
    axis=1,
  )


def test_frequencies(happened):
  off = np.abs(happened.mean(0) - 0.5)
  assert off.max() < deviation(len(happened))


def test_coins_are_independent(happened):
  for one, other in itertools.combinations(happened.T, 2):
    # Two fair and independent coins agree half of the time.
    assert abs(np.mean(one == other) - 0.5) < deviation(len(happened))


def test_one_does_not_change_the_draws_of_another():
  images = repeated(photo(), 32)
  want = images
  for options in ALONE.values():
    want = augment(want, range(32), options)
  # Solarizing turns a rounding at the threshold into nothing more: 1 - x = x.
  found = augment(images, range(32), ALL)
  np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_seed_decides_and_not_the_row_or_the_batch():
  images = np.random.default_rng(1).random((32, 24, 28, 3))
  seeds = np.arange(32) * 134_217_729  # over all of uint32
  whole = augment(images, seeds, ALL)
  order = np.random.default_rng(2).permutation(32)
  np.testing.assert_array_equal(
    augment(images[order], seeds[order], ALL), whole[order]
  )
  np.testing.assert_allclose(
    augment(images[5:6], seeds[5:6], ALL), whole[5:6], rtol=0, atol=1e-5
  )


def test_seeds_differ():
  seeds = [0, 1, 2, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1]
  factors = jitter_factor("brightness", 1.0, np.asarray(seeds))
  assert len(np.unique(factors)) == len(seeds)


def test_default_generator_does_not_matter():
  images, options = repeated(photo(), 31), Options(flip=0.5, solarize=0.3)
  want = augment(images, range(31), options)
  with jax.default_prng_impl("rbg"):
    # Of another size, for the first would be a program already traced.
    found = augment(images[:30], range(30), options)
  np.testing.assert_array_equal(found, want[:30])


def jitter_factor(name, strength, seeds):
  """The factors drawn, read off one pixel (for contrast, one of two)."""
  pixels = {
    "brightness": [[0.2, 0.2, 0.2], [0.2, 0.2, 0.2]],
    "contrast": [[0.4, 0.4, 0.4], [0.6, 0.6, 0.6]],
    "saturation": [[0.4, 0.45, 0.4], [0.4, 0.45, 0.4]],
    "hue": [[0.5, 0.0, 0.0], [0.5, 0.0, 0.0]],
  }[name]
  image = np.asarray([pixels], np.float64)
  images = np.broadcast_to(image, (len(seeds), *image.shape))
  found = augment(images, seeds, Options(jitter=1.0, **{name: strength}))
  if name == "hue":
    turns = [colorsys.rgb_to_hsv(*map(float, f[0, 0]))[0] for f in found]
    return (np.asarray(turns) + 0.5) % 1 - 0.5
  other = JITTERS[name](image, 0)
  found = found.astype(np.float64)
  return ((found - other) / (image - other))[:, 0, 0, 1]


@pytest.mark.parametrize(
  ("name", "strength", "low", "high"),
  [
    ("brightness", 0.4, 0.6, 1.4),
    ("contrast", 0.4, 0.6, 1.4),
    ("saturation", 0.4, 0.6, 1.4),
    ("brightness", 1.5, 0.0, 2.5),
    ("hue", 0.1, -0.1, 0.1),
  ],
)
def test_factors_are_uniform(name, strength, low, high):
  count = 2048
  factors = jitter_factor(name, strength, range(count))
  assert factors.min() > low - 1e-4
  assert factors.max() < high + 1e-4
  share = (factors - low) / (high - low)
  for edge in (0.1, 0.3, 0.5, 0.7, 0.9):
    assert abs(np.mean(share < edge) - edge) < deviation(count)


def test_jitter_is_in_each_order_equally_often():
  count, strength = 2048, 0.5
  colors = [[0.9, 0.1, 0.2], [0.1, 0.8, 0.95], [1, 1, 0.3], [0.05, 0, 0.2]]
  image = np.asarray(colors, np.float64).reshape(2, 2, 3)
  found = augment(
    np.broadcast_to(image, (count, 2, 2, 3)),
    range(count),
    Options(
      jitter=1.0,
      brightness=strength,
      contrast=strength,
      saturation=strength,
      hue=strength,
    ),
  )
  # Each alone draws the factors that it draws beside the others.
  factors = {n: jitter_factor(n, strength, range(count)) for n in JITTERS}
  results = []
  for order in itertools.permutations(JITTERS):
    result = np.broadcast_to(image, found.shape)
    for name in order:
      result = JITTERS[name](result, factors[name])
    results.append(result)
  off = np.abs(found - np.stack(results)).max((2, 3, 4))
  # The factors as read off are good to some 1e-6, times a few here.
  assert off.min(0).max() < 2e-5
  # Some orders agree where nothing is clipped. The factors alone, which say
  # nothing of the order, decide whether all 24 differ.
  differ = np.all(
    [
      np.abs(one - other).max((1, 2, 3)) > 1e-4
      for one, other in itertools.combinations(results, 2)
    ],
    axis=0,
  )
  seen = off.argmin(0)[differ]
  counts = np.bincount(seen, minlength=24)
  assert len(seen) > 240
  assert np.abs(counts / len(seen) - 1 / 24).max() < deviation(len(seen))
  assert counts.min() > 0


def test_blur_is_of_random_sigma():
  count = 512
  image = np.zeros((count, 41, 41, 3))
  image[:, 20, 20] = 1
  found = augment(image, range(count), Options(blur=1.0))
  ratio = found[:, 20, 21, 0] / found[:, 20, 20, 0]
  sigma = np.sqrt(-0.5 / np.log(ratio.astype(np.float64)))
  assert sigma.min() > 0.1 - 1e-4
  assert sigma.max() < 2 + 1e-4
  assert abs(sigma.mean() - 1.05) < deviation(count, 1.9)


def test_blur_has_the_form_that_is_asked_for():
  images = np.random.default_rng(0).random((2, 41, 41, 3)).astype(np.float32)
  boxes = Options(blur=1.0, blur_form="boxes")
  found = augment(images, range(2), boxes)
  exact = augment(images, range(2), Options(blur=1.0))
  middle = np.s_[:, 5:-5, 5:-5]  # edges differ
  off = np.abs(found - exact)[middle].max()
  assert 1e-4 < off < 0.1


@pytest.mark.parametrize(("side", "kernel"), [(2, 3), (41, 5), (224, 23)])
def test_blur_is_a_tenth_as_wide_as_the_image(side, kernel):
  image = np.zeros((8, side, side, 3))
  image[:, :, side // 2] = 1
  found = augment(image, range(8), Options(blur=1.0))
  assert (found[:, 0, :, 0] > 0).sum(-1).max() == min(side, kernel)


def test_blur_refuses_one_pixel():
  with pytest.raises(ValueError, match=r"found 1 x 8: .* turn the blur off"):
    augment(np.zeros((2, 1, 8, 3)), range(2), Options(blur=0.5))


def test_result_is_finite_and_in_the_unit_interval():
  options = Options(
    flip=0.5,
    jitter=1.0,
    brightness=3.0,
    contrast=3.0,
    saturation=3.0,
    hue=0.5,
    grayscale=0.2,
    blur=0.5,
    solarize=0.2,
  )
  for image in (photo(), 0 * photo(), 0 * photo() + 255):
    images = jnp.asarray(repeated(image, 256))
    seeds = jnp.arange(256, dtype=jnp.uint32)
    found = distortions.augment(images, seeds, options)
    assert found.dtype == jnp.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def program(options):
  images = jax.ShapeDtypeStruct((4, 40, 40, 3), jnp.float32)
  seeds = jax.ShapeDtypeStruct((4,), jnp.uint32)
  return distortions.augment.lower(images, seeds, options)


def test_what_is_off_is_not_traced():
  marks = {"flip": "reverse", "jitter": "sort", "blur": "exponential"}
  for name, options in ALONE.items():
    text = program(options).as_text()
    found = [n for n, mark in marks.items() if f"stablehlo.{mark}" in text]
    assert found == [n for n in marks if n == name]


@pytest.mark.parametrize("name", JITTERS)
def test_a_strength_of_zero_is_not_traced(name):
  text = program(Options(jitter=1.0, **{name: 0.5})).as_text()
  assert ("stablehlo.round" in text) == (name == "hue")
  # The mean over an image.
  assert ("across dimensions = [1, 2, 3]" in text) == (name == "contrast")


def test_nothing_costs_nothing():
  assert "stablehlo" in program(Options(flip=0.5)).as_text()
  assert "stablehlo" not in program(Options()).as_text()


def test_sharded_batch_gives_the_same_without_communication():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  images, seeds = repeated(photo(), 32), np.arange(32, dtype=np.uint32)
  arguments = jax.device_put((images, seeds), sharding)
  found = distortions.augment(*arguments, ALL)
  assert found.sharding.is_equivalent_to(sharding, found.ndim)
  np.testing.assert_allclose(
    found, augment(images, seeds, ALL), rtol=0, atol=1e-5
  )
  text = distortions.augment.lower(*arguments, ALL).compile().as_text()
  for collective in ("all-gather", "all-reduce", "all-to-all", "collective-"):
    assert collective not in text
