import itertools

import networkx as nx
import numpy as np
import pytest

from hyperclip_jax.evals.metrics import hierarchy

ZOO = {
  "thing": (),
  "animal": ("thing",),
  "pet": ("thing",),
  "dog": ("animal", "pet"),
  "cat": ("animal", "pet"),
  "wolf": ("animal",),
  "car": ("thing",),
}


@pytest.mark.parametrize(
  ("prediction", "truth", "expected"),
  [
    # A(dog) = {dog, animal, pet, thing}.
    ("dog", "dog", (0, 1, 1, 1, 1)),
    ("dog", "cat", (2, 2, 3 / 5, 3 / 4, 3 / 4)),
    ("wolf", "dog", (2, 2, 2 / 5, 2 / 3, 2 / 4)),
    ("dog", "wolf", (2, 3, 2 / 5, 2 / 4, 2 / 3)),
    ("car", "dog", (3, 2, 1 / 5, 1 / 2, 1 / 4)),
    ("thing", "dog", (2, 1, 1 / 4, 1, 1 / 4)),
  ],
)
def test_by_hand(prediction, truth, expected):
  result = hierarchy.hierarchy(ZOO, [prediction], [truth])
  assert list(result) == ["tie", "lca", "jaccard", "precision", "recall"]
  assert list(result.values()) == pytest.approx(expected)


@pytest.mark.parametrize(
  ("prediction", "truth", "expected"),
  [
    # A(dog) = {animal, pet, thing}.
    ("dog", "dog", (0, 1, 1, 1, 1)),
    ("dog", "cat", (2, 1, 1, 1, 1)),
    ("wolf", "dog", (2, 1, 2 / 3, 1, 2 / 3)),
    ("car", "dog", (3, 1, 1 / 3, 1, 1 / 3)),
    ("dog", "wolf", (2, 2, 2 / 3, 2 / 3, 1)),
  ],
)
def test_by_hand_without_the_nodes_themselves(prediction, truth, expected):
  result = hierarchy.hierarchy(ZOO, [prediction], [truth], own=False)
  assert list(result.values()) == pytest.approx(expected)
  with pytest.raises(ValueError, match="a root has no ancestors"):
    hierarchy.hierarchy(ZOO, [prediction], ["thing"], own=False)


def test_results_are_means_over_pairs():
  result = hierarchy.hierarchy(ZOO, ["dog", "car"], ["dog", "dog"])
  assert result["tie"] == 1.5
  assert result["recall"] == pytest.approx((1 + 1 / 4) / 2)


def random_dag(seed, size=30):
  rng = np.random.default_rng(seed)
  dag: dict[str, tuple[str, ...]] = {"0": ()}
  for i in range(1, size):
    above = rng.choice(i, size=min(i, rng.integers(1, 4)), replace=False)
    dag[str(i)] = tuple(str(j) for j in above)
  return dag


@pytest.mark.parametrize("seed", range(3))
def test_against_networkx(seed):
  dag = random_dag(seed)
  graph = nx.DiGraph((n, p) for n, above in dag.items() for p in above)
  length = dict(nx.all_pairs_shortest_path_length(graph.to_undirected()))
  for p, t in itertools.product(dag, dag):
    assert hierarchy.hierarchy(dag, [p], [t])["tie"] == length[p][t]
  for node in dag:
    assert hierarchy.ancestors(dag, node) == nx.descendants(graph, node) | {
      node
    }


@pytest.mark.parametrize(
  ("dag", "prediction", "match"),
  [
    ({"a": ("b",), "b": ("a",)}, "a", "cycle: "),
    ({"a": ("a",)}, "a", "cycle: a -> a"),
    ({"a": ("b",)}, "a", "'b', a parent of 'a'"),
    ({"a": ()}, "z", "'z' is not in the hierarchy"),
    ({"a": (), "b": ()}, "b", "no path in the hierarchy joins 'b' to 'a'"),
  ],
)
def test_bad_hierarchies_are_explained(dag, prediction, match):
  with pytest.raises(ValueError, match=match):
    hierarchy.hierarchy(dag, [prediction], ["a"])


def test_pairs_must_match():
  with pytest.raises(ValueError, match="2 predictions for 1 truths"):
    hierarchy.hierarchy(ZOO, ["dog", "cat"], ["dog"])
  with pytest.raises(ValueError, match="at least one"):
    hierarchy.hierarchy(ZOO, [], [])


def test_what_guessing_reaches_is_the_mean_of_many_guesses():
  classes, truths = ["dog", "cat", "wolf", "car"], ["dog", "dog", "car"]
  pairs = [*itertools.product(classes, truths)]
  guesses, rights = zip(*pairs, strict=True)
  found = hierarchy.rated(ZOO, classes, ["dog", "cat", "car"], truths)
  wanted = hierarchy.rated(ZOO, classes, guesses, rights)
  for name in (*hierarchy.METRICS, *hierarchy.KINSHIP):
    assert found[f"{name}_chance"] == pytest.approx(wanted[name])
    assert found[f"{name}_chance"] == pytest.approx(wanted[f"{name}_chance"])


def test_guesses_that_no_path_joins_to_the_truth_are_infinitely_far():
  apart = {"a": (), "b": (), "c": ("a",), "d": ("b",)}
  found = hierarchy.rated(apart, ["c", "d"], ["c"], ["c"])
  assert found["tie"] == 0
  assert found["tie_chance"] == np.inf
  with pytest.raises(ValueError, match=r"no path .* joins 'd' to 'c'"):
    hierarchy.rated(apart, ["c", "d"], ["d"], ["c"])
