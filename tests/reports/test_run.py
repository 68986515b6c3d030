"""The examples in the report of a run."""

import numpy as np
import pytest

from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.evals.held_out import Evaluation, Sample
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.reports import run
from tests.data import tars

BOX = (0.25, 0.0, 0.75, 0.5)
WHOLE = (0.0, 0.0, 1.0, 1.0)


def examples(*parts):
  record = Record("k", "a dog on a sofa", b"", parts, {})
  image = np.zeros((8, 8, 3), np.uint8)
  rows = np.eye(1, 4, dtype=np.float32)
  data = Sample(
    "eval", [record], [image], [record.caption], [], [], np.zeros(1, bool), None
  )
  found = Evaluation({}, {"image": rows, "text": rows}, {})
  model = object.__new__(HyperCLIP)  # compares embeddings, and no more
  model.space, model.width = Sphere(), 4
  (example,) = run._examples(model, data, found, upright=False)
  return example


def test_a_part_of_the_image_is_drawn_as_a_box():
  example = examples(Part("a dog", BOX))
  assert example.parts == [("a dog", BOX)]
  assert example.retrieved == ["a dog on a sofa"]


def test_a_part_with_a_crop_is_drawn_as_that_crop_not_round_the_image():
  ((text, crop),) = examples(
    Part("a dog", WHOLE, tars.jpeg(height=16, width=24))
  ).parts
  assert text == "a dog"
  assert np.shape(crop) == (16, 24, 3)


@pytest.mark.parametrize("crop", [b"", b"\xff\xd8\xff"])
def test_a_damaged_crop_costs_its_part_alone(crop):
  example = examples(Part("a cat", WHOLE, crop), Part("a dog", BOX))
  assert example.parts == [("a dog", BOX)]
