import itertools

import numpy as np
import pytest

from hyperclip_jax.evals.traversal import ROOT, traverse

# Distances 1, 2 and 3 from the root, all in one direction.
TABLE = {"animal": (1, 0), "dog": (2, 0), "my dog": (3, 0), "car": (0, 2)}


@pytest.mark.parametrize("curv", [0.1, 1.0, 2.5])
def test_meets_ever_more_general_concepts(make_model, curv):
  model = make_model(table=TABLE, curv=curv)
  features = model.encode_text(["my dog"], lift=False)
  (walk,) = traverse(model, features, model.encode_text(list(TABLE)), 31)
  # The walk goes 3.0, 2.9, ... 0; midpoints belong to no candidate more than
  # to the other, so look one step past them.
  assert [stop.candidate for stop in walk] == [2, 1, 0, ROOT]
  assert walk[0].t == 1.0
  met = [3 * stop.t for stop in walk[1:]]
  np.testing.assert_allclose(met, [2.5, 1.5, 0.5], atol=0.101)


def test_clip_walks_to_the_mean_direction(make_model):
  table = {"left": (0, 1), "mid": (0.6, 1), "right": (1, 0)}
  model = make_model(False, table)
  candidates = model.encode_text(list(table))
  features = np.array([[0, 9], [9, 0]], np.float32)
  up, right = traverse(model, features, candidates)
  assert [stop.candidate for stop in up] == [0, 1, ROOT]
  assert [stop.candidate for stop in right] == [2, ROOT]


def test_every_walk_ends_at_the_root(make_model):
  model = make_model()
  rng = np.random.default_rng(0)
  features = rng.normal(size=(5, 3)).astype(np.float32)
  candidates = model.lift(rng.normal(size=(9, 3)).astype(np.float32))
  for walk in traverse(model, features, candidates, 7):
    assert walk[-1].candidate == ROOT
    ts = [stop.t for stop in walk]
    assert ts == sorted(ts, reverse=True)
    found = [stop.candidate for stop in walk]
    assert all(a != b for a, b in itertools.pairwise(found))


def test_the_root_wins_ties(make_model):
  model = make_model()
  zeros = np.zeros((2, 3), np.float32)
  assert traverse(model, zeros[:1], zeros) == [((ROOT, 1.0),)]


def test_a_walk_has_two_ends(make_model):
  zeros = np.zeros((1, 3), np.float32)
  with pytest.raises(ValueError, match="steps is 1"):
    traverse(make_model(), zeros, zeros, 1)
