"""Walks meet what lies nearest on the way."""

import itertools

import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.inference import walk
from hyperclip_jax.inference.search import Index

# Distances 1, 2 and 3 from the root, all in one direction.
TABLE = {"animal": (1, 0), "dog": (2, 0), "my dog": (3, 0), "car": (0, 2)}


def index_of(table, space):
  rows = space.lift(np.array([*table.values()], float))
  return Index(rows, [*table], space)


@pytest.mark.parametrize("curv", [0.1, 1.0, 2.5])
def test_meets_ever_more_general_concepts(curv):
  index = index_of(TABLE, Lorentz(curv))
  found = walk.to_root(index.embeddings[2], np.zeros(2), index, 31)
  # The walk goes 3.0, 2.9, ... 0; midpoints belong to no candidate more than
  # to the other, so look one step past them.
  assert [stop.name for stop in found] == ["my dog", "dog", "animal", "root"]
  assert [stop.row for stop in found] == [2, 1, 0, walk.ROOT_ROW]
  assert found[0].t == 1.0
  met = [3 * stop.t for stop in found[1:]]
  np.testing.assert_allclose(met, [2.5, 1.5, 0.5], atol=0.101)


def test_clip_walks_to_the_root_that_is_given():
  index = index_of({"left": (0, 1), "mid": (0.6, 1), "right": (1, 0)}, Sphere())
  root = Sphere().root(index.embeddings)
  up, right = (
    walk.to_root(np.array(start, float), root, index)
    for start in ((0, 1), (1, 0))
  )
  assert [stop.name for stop in up] == ["left", "mid", "root"]
  assert [stop.name for stop in right] == ["right", "root"]


@pytest.mark.parametrize("space", [Sphere(), Lorentz(1.0)])
def test_every_walk_ends_at_the_root(space):
  rng = np.random.default_rng(0)
  index = Index(space.lift(rng.normal(size=(9, 3))), [*"abcdefghi"], space)
  root = space.root(index.embeddings)
  for start in space.lift(rng.normal(size=(5, 3))):
    found = walk.to_root(start, root, index, 7)
    assert found[-1].name == walk.ROOT
    ts = [stop.t for stop in found]
    assert ts == sorted(ts, reverse=True)
    rows = [stop.row for stop in found]
    assert all(a != b for a, b in itertools.pairwise(rows))


def test_the_root_wins_ties():
  zeros = np.zeros((2, 3))
  index = Index(zeros, ["a", "b"], Lorentz(1.0))
  assert walk.to_root(zeros[0], zeros[0], index) == (("root", 1.0, -1),)
  one = np.eye(3)[:1]
  index = Index(one, ["the empty text"], Sphere())
  found = walk.to_root(np.eye(3)[1], one[0], index)
  assert {stop.name for stop in found} == {"root"}


def test_an_empty_index_has_the_root_alone():
  empty = Index(np.zeros((0, 3)), [], Lorentz(1.0))
  zero = np.zeros(3)
  assert [stop.name for stop in walk.to_root(zero, zero, empty)] == ["root"]
  with pytest.raises(ValueError, match="the index is empty"):
    walk.between(zero, zero, empty)


def test_a_walk_has_two_ends():
  index = Index(np.zeros((1, 3)), ["a"], Lorentz(1.0))
  for function in (walk.to_root, walk.between):
    with pytest.raises(ValueError, match="steps is 1: give at least 2"):
      function(np.zeros(3), np.zeros(3), index, 1)
