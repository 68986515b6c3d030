import numpy as np

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.record import Part
from tests.data import tars


def test_the_pixels_of_a_part_are_its_crop_or_a_box_of_the_whole():
  whole = images.decode(tars.jpeg(0))
  boxed = Part("a", (0.5, 0.0, 1.0, 0.5))
  np.testing.assert_array_equal(boxed.pixels(whole), whole[:24, 32:])
  cropped = Part("a", (0.0, 0.0, 1.0, 1.0), tars.jpeg(1))
  np.testing.assert_array_equal(
    cropped.pixels(whole), images.decode(tars.jpeg(1))
  )
  # The same picture stored twice is still a crop, however its bytes are held.
  twice = Part("a", (0.0, 0.0, 1.0, 1.0), tars.jpeg(0))
  np.testing.assert_array_equal(twice.pixels(whole), whole)
