import itertools

import numpy as np
import pytest

from hyperclip_jax.reports import drawing
from hyperclip_jax.reports.markup import LONGEST, tag
from tests.reports.reader import Reader


def read(picture, caption, parts):
  return Reader(tag("article", *drawing.drawn(picture, caption, parts)))


def places(reader, name):
  found = []
  for element, attrs in reader.elements:
    if element == name:
      pairs = dict(s.split(":") for s in attrs["style"].split(";"))
      found.append(pairs)
  return found


def percent(text):
  return float(text.removesuffix("%")) / 100


@pytest.mark.parametrize("shape", [(300, 400), (400, 100), (20, 2000)])
def test_numbers_stay_in_the_picture_and_apart(shape):
  picture = np.zeros((*shape, 3), np.uint8)
  corners = [(0.0, 0.0), (0.0, 0.0), (0.03, 0.04), (0.97, 0.0), (0.97, 0.02)]
  parts = [("a", (x, y, 1.0, 1.0)) for x, y in corners]
  found = [
    (percent(p["left"]), percent(p["top"]))
    for p in places(read(picture, "c", parts), "b")
  ]
  assert all(0 <= x <= 1 - drawing.WIDE for x, _ in found)
  assert all(0 <= y < 1 for _, y in found)
  high = drawing.HIGH * shape[1] / shape[0]
  for (x, y), (a, b) in itertools.combinations(found, 2):
    assert abs(x - a) >= drawing.WIDE - 1e-4 or abs(y - b) >= high - 1e-4


def test_frames_lie_at_their_fractions_in_the_colour_of_their_phrase():
  picture = np.zeros((30, 40, 3), np.uint8)
  reader = read(picture, "c", [("a", (0.1, 0.2, 0.4, 0.95))])
  (frame,) = places(reader, "i")
  (phrase,) = places(reader, "li")
  colour = phrase["--c"]
  assert frame == {
    "left": "10.00%",
    "top": "20.00%",
    "width": "30.00%",
    "height": "75.00%",
    "--c": colour,
  }


def test_a_part_with_a_picture_of_its_own_has_no_frame():
  picture = np.zeros((30, 40, 3), np.uint8)
  reader = read(picture, "c", [("a ball", picture[:5, :5])])
  assert not places(reader, "i")
  alts = [attrs["alt"] for name, attrs in reader.elements if name == "img"]
  assert alts == ["c", "a ball"]


def test_a_record_without_end_does_not_fill_the_page():
  picture = np.zeros((30, 40, 3), np.uint8)
  parts = [("b" * 100_000, (0.0, 0.0, 0.5, 0.5))] * 1000
  reader = read(picture, "a" * 100_000, parts)
  assert len(places(reader, "i")) == drawing.MOST
  assert "and 960 more" in reader.text
  assert max(map(len, reader.texts)) == LONGEST
