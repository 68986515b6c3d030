import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.data.records import box_forms
from hyperclip_jax.data.records.box_forms import FORMS, Form, Found

SIZES = [(320.0, 240.0), (512.0, 384.0), (640.0, 480.0), (1024.0, 1024.0)]


def boxes(form, count=40, seed=0, least=0.1):
  """Boxes of random places and sizes, in a form."""
  rng = np.random.default_rng(seed)
  found = []
  for i in range(count):
    width, height = SIZES[i % len(SIZES)]
    sides = rng.uniform(least, 0.8, 2)
    start = rng.uniform(0, 1 - sides)
    scale = box_forms._scale(form.unit, (width, height))
    end = sides if form.ends == "xywh" else start + sides
    numbers = np.concatenate([start, end]) * np.tile(scale, 2)
    found.append(Found(numbers.tolist(), (width, height)))
  return found


@pytest.mark.parametrize("form", FORMS)
def test_a_form_stands_for_the_same_fractions(form):
  wanted = [box_forms.fractions(each, Form()) for each in boxes(Form())]
  found = [box_forms.fractions(each, form) for each in boxes(form)]
  np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_the_right_form_is_not_doubted(form, seed):
  assert box_forms.doubt(boxes(form, seed=seed), form) is None


@pytest.mark.parametrize("real", FORMS)
@pytest.mark.parametrize("taken", [Form(), Form("pixels", "xywh")])
def test_another_form_is_recognised(real, taken):
  if real == taken:
    return
  doubt = box_forms.doubt(boxes(real), taken)
  assert doubt is not None
  assert doubt.likelier == real
  assert f"they look like {real.unit} ({real.ends})" in doubt.reason


def test_boxes_of_whole_images_are_not_doubted():
  whole = [Found([0, 0, 1, 1], (64.0, 48.0))] * 30
  assert box_forms.doubt(whole, Form()) is None


def test_some_bad_boxes_are_not_doubted():
  found = boxes(Form())
  bad = [Found([0.9, 0.9, 0.1, 0.1], (64.0, 48.0))] * 8
  assert box_forms.doubt(found + bad, Form()) is None


def test_few_boxes_say_nothing():
  found = boxes(Form("pixels"), count=box_forms.LEAST - 1)
  assert box_forms.doubt(found, Form()) is None


def test_boxes_of_no_form_are_doubted_without_a_guess():
  nonsense = [Found([5e6, 5e6, -5e6, 3], (64.0, 48.0))] * 30
  doubt = box_forms.doubt(nonsense, Form())
  assert doubt is not None
  assert doubt.likelier is None
  assert "0% of 30 boxes lie in their images" in doubt.reason


NUMBER = st.floats() | st.floats(-2, 2) | st.floats(0, 1000)


@given(
  st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=10, max_size=12),
  st.sampled_from(FORMS),
)
def test_any_numbers_are_read(rows, form):
  found = [Found(row, (64.0, 48.0)) for row in rows]
  doubt = box_forms.doubt(found, form)
  assert doubt is None or doubt.likelier != form
