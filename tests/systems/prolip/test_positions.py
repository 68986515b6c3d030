"""Position tables of other lengths, against the official code."""

import jax
import numpy as np
import pytest

from hyperclip_jax.systems import prolip
from hyperclip_jax.systems.prolip import positions
from hyperclip_jax.systems.task import variable_shapes
from tests import golden_files
from tests.systems.prolip import golden
from tests.systems.prolip.golden import assert_relative


@pytest.fixture(scope="module")
def tables():
  return golden_files.arrays("prolip/resize")


def test_longer_texts_equal_official(tables):
  place = "text/long_64_to_256"
  found = positions.of_words(tables[f"{place}/old"], 256)
  assert_relative(found, tables[f"{place}/new"], 3e-6)


def test_short_tables_equal_official_but_for_unc_and_cls(tables):
  place = "text/short_path_16_to_32"
  old = tables[f"{place}/old"]
  whole = positions._linear(old, 34)  # as the official code does
  assert_relative(whole, tables[f"{place}/new"], 3e-6)
  found = positions.of_words(old, 32)
  np.testing.assert_array_equal(found[-2:], old[-2:])
  np.testing.assert_array_equal(found[:-2], positions._linear(old[:-2], 32))


@pytest.mark.parametrize(("name", "side"), [("4_to_6", 6), ("6_to_4", 4)])
def test_grids_equal_official(name, side, tables):
  old = tables[f"image/grid{name}/old"]
  found = positions.of_patches(old, side)
  np.testing.assert_array_equal(found[:2], old[:2])
  assert_relative(found[2:], tables[f"image/grid{name}/new_patches"], 3e-6)


def test_the_same_size_changes_nothing(tables):
  old = tables["text/long_64_to_256/old"]
  np.testing.assert_array_equal(positions.of_words(old, 64), old)
  old = tables["image/grid4_to_6/old"]
  np.testing.assert_array_equal(positions.of_patches(old, 4), old)


def test_a_model_gets_longer_texts_and_larger_images():
  o, variables = golden.model()
  changed, found = positions.resized(o, variables, 40, 48)
  assert (changed.text.context, changed.image_size) == (40, 48)
  shapes = variable_shapes(prolip.encoder(changed))
  jax.tree.map(lambda x, y: None, found, shapes)  # of one structure
  for leaf, wanted in zip(
    jax.tree.leaves(found), jax.tree.leaves(shapes), strict=True
  ):
    assert leaf.shape == wanted.shape
  np.testing.assert_array_equal(
    found["params"]["vision"]["unc"], variables["params"]["vision"]["unc"]
  )
