import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.data.records import boxes

ANY = st.floats() | st.floats(-0.5, 1.5)


@given(st.tuples(ANY, ANY, ANY, ANY), st.floats(1, 4000))
def test_a_clean_box_is_inside_large_enough_and_stays_clean(box, width):
  found = boxes.clean(box, width, 500.0, 32)
  if found is not None:
    x1, y1, x2, y2 = found
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1
    assert (x2 - x1) * width >= 32
    assert (y2 - y1) * 500 >= 32
    assert boxes.clean(found, width, 500.0, 32) == found


@given(
  st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.25, 0.5), st.floats(0.25, 1)
)
def test_a_good_box_is_kept_as_it_is(x, y, width, height):
  box = (x, y, x + width, min(y + height, 1.0))
  assert boxes.clean(box, 512.0, 512.0, 32) == box


@pytest.mark.parametrize(
  "box",
  [
    (0.8, 0.8, 0.2, 0.2),  # inverted twice: its area is positive
    (0.8, 0.2, 0.2, 0.8),
    (0.0, 0.0, 1.0, 0.003),  # 1000 x 3 pixels: area above 32 x 32
    (0.5, 0.5, 0.5, 0.9),
    (1.2, 0.0, 1.9, 1.0),
    (-0.5, 0.0, 0.01, 1.0),  # only 10 pixels of it are in the image
    (math.nan, 0.0, 1.0, 1.0),
    (0.0, 0.0, math.inf, 1.0),
  ],
)
def test_boxes_that_the_official_area_test_lets_through(box):
  assert boxes.clean(box, 1000.0, 1000.0, 32) is None


def test_box_is_clipped_and_sides_of_just_32_pixels_are_kept():
  assert boxes.clean((-1.0, -0.5, 2.0, 0.5), 64.0, 64.0, 32) == (0, 0, 1, 0.5)
  assert boxes.clean((0.0, 0.0, 0.5, 0.5), 64.0, 64.0, 32) is not None
  assert boxes.clean((0.0, 0.0, 0.5, 0.5), 64.0, 63.0, 32) is None


def test_numpy_floats_come_out_as_python_floats():
  found = boxes.clean(
    np.array([0, 0, 1, 1], np.float32).tolist(), 64.0, 64.0, 32
  )
  assert found == boxes.WHOLE
  assert found is not None
  assert all(type(value) is float for value in found)
