"""Words of a hierarchy: entailment of what is below, and radii by depth."""

import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.evals.metrics import tree
from hyperclip_jax.evals.metrics.hierarchy import kinship
from hyperclip_jax.geometry.spaces import Lorentz, Sphere

PARENTS = {
  "thing": (),
  "animal": ("thing",),
  "tool": ("thing",),
  "cat": ("animal",),
  "dog": ("animal",),
  "saw": ("tool",),
}


def points(space, rows):
  return np.asarray(space.lift(jnp.asarray(rows, jnp.float32)))


def test_inner_nodes_are_neither_leaves_nor_roots():
  assert tree.inner(PARENTS) == ["animal", "tool"]


def test_words_that_hold_what_is_below_have_an_area_of_one():
  space = Lorentz(1.0)
  words = points(space, [[0.5, 0.0], [0.0, 0.5]])
  images = points(space, [[2.0, 0.1], [2.0, -0.1], [0.1, 2.0]])
  found = tree.entailment(
    space,
    PARENTS,
    dict(zip(["animal", "tool"], words, strict=True)),
    images,
    ["cat", "dog", "saw"],
  )
  assert found["auroc"] == found["ap"] == 1.0
  assert found["ap_chance"] == 0.5
  assert found["pairs"] == 6
  # The other way round nothing holds, which similarity cannot tell.
  swapped = tree.entailment(
    space,
    PARENTS,
    dict(zip(["animal", "tool"], words[::-1], strict=True)),
    images,
    ["cat", "dog", "saw"],
  )
  assert swapped["auroc"] == 0.0


def test_a_space_without_cones_has_similarity_alone():
  space = Sphere()
  words = points(space, [[1.0, 0.0], [0.0, 1.0]])
  found = tree.entailment(
    space,
    PARENTS,
    dict(zip(["animal", "tool"], words, strict=True)),
    points(space, [[2.0, 0.1], [0.1, 2.0]]),
    ["cat", "saw"],
  )
  assert found["similarity_auroc"] == 1.0
  assert "auroc" not in found


def test_radii_follow_the_depth():
  space = Lorentz(1.0)
  lengths = {"thing": 0.1, "animal": 1.0, "tool": 1.2, "cat": 2.0, "saw": 3.0}
  words = {
    name: points(space, [[length, 0.0]])[0] for name, length in lengths.items()
  }
  found = tree.radii(space, PARENTS, words)
  assert found["depth0"] == pytest.approx(0.1, rel=1e-4)
  assert found["depth1"] == pytest.approx(1.1, rel=1e-4)
  assert found["depth2"] == pytest.approx(2.5, rel=1e-4)
  assert found["rank_correlation"] == pytest.approx(3 / 10**0.5, rel=1e-3)


def test_kinship_is_right_one_and_two_levels_above():
  pairs = (
    ["cat", "dog", "saw", "saw", "thing"],
    [*("cat", "cat", "cat", "saw", "thing")],
  )
  assert kinship(PARENTS, *pairs).tolist() == [
    [True, True],
    [True, True],
    [False, True],
    [True, True],
    [True, True],
  ]
