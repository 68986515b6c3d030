import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from PIL import Image

from hyperclip_jax.data.feed import augment

# Images are compared level by level.
pytestmark = pytest.mark.usefixtures("optimized")

SIZE = 56
CROPS = [
  (0, 0, 160, 120),  # the whole canvas, unequal scales
  (3, 5, 150, 116),
  (10, 20, 66, 76),  # the identity
  (40, 30, 71, 47),  # enlarged
  (7, 1, 8, 119),  # one pixel wide
  (0, 119, 160, 120),  # one pixel high
  (159, 119, 160, 120),
  (13, 17, 90, 101),
]


def canvases(count=8):
  """Noise next to smooth colours: ringing, clipping and flat areas."""
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (count, 120, 160, 3), dtype=np.uint8)
  y, x = np.mgrid[:120, :160]
  smooth = np.stack([x, y, 200 - x], -1).astype(np.uint8)
  noise[:, :, 80:] = smooth[:, 80:]
  noise[:, 50:60] = 255 * (x[50:60, :, None] // 8 % 2)
  return noise


def pillow(images, crops, size):
  return np.stack(
    [
      np.asarray(
        Image.fromarray(image)
        .crop(crop)
        .resize((size, size), Image.Resampling.BICUBIC)
      )
      for image, crop in zip(images, crops, strict=True)
    ]
  )


def difference(found, want):
  return np.abs(np.asarray(found) * 255 - want)


def crop_resize(images, crops, size=SIZE):
  crops = jnp.asarray(crops, jnp.float32)
  return augment.crop_resize(jnp.asarray(images), crops, size)


@pytest.mark.parametrize("index", range(len(CROPS)))
def test_equals_pillow(index, record_property):
  images, crops = canvases()[index:][:1], CROPS[index:][:1]
  off = difference(crop_resize(images, crops), pillow(images, crops, SIZE))
  record_property("mean", float(off.mean()))
  record_property("max", float(off.max()))
  # Only ties differ, by the last bits of the weights: 4.4% of the values after
  # the first pass of the whole canvas are k + 1/2, next to none elsewhere.
  assert off.mean() < 0.05
  assert off.max() < 1.01


@pytest.mark.parametrize("size", [1, 7, 224])
def test_equals_pillow_at_other_sizes(size):
  images, crops = canvases(2), CROPS[:2]
  off = difference(
    crop_resize(images, crops, size), pillow(images, crops, size)
  )
  assert off.mean() < 0.01
  assert off.max() < 1.01


def test_nothing_outside_of_the_crop_is_seen():
  images = canvases(1)
  crop = (13, 17, 90, 101)
  inside = np.zeros_like(images)
  inside[:, 17:101, 13:90] = images[:, 17:101, 13:90]
  np.testing.assert_array_equal(
    crop_resize(images, [crop]), crop_resize(inside, [crop])
  )


def test_result_is_in_the_unit_interval():
  found = np.asarray(crop_resize(canvases(), CROPS))
  assert found.dtype == np.float32
  assert found.min() == 0
  assert found.max() == 1


def test_sharded_batch_gives_the_same_and_stays_sharded():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  images, crops = canvases(), np.asarray(CROPS, np.float32)
  found = augment.crop_resize(
    jax.device_put(images, sharding), jax.device_put(crops, sharding), SIZE
  )
  assert found.sharding.is_equivalent_to(sharding, found.ndim)
  assert difference(found, pillow(images, CROPS, SIZE)).mean() < 0.01
