"""The hierarchy of ImageNet, from WordNet's own file format."""

import collections
import itertools

import networkx
import numpy as np
import pytest

from hyperclip_jax.evals import catalog, rates
from hyperclip_jax.evals.datasets import classification, wordnet
from hyperclip_jax.evals.metrics.hierarchy import ancestors, hierarchy, validate
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import pictures
from tests.evals.pictures import GREEN, RED


def noun(offset, words, pointers):
  """A line of data.noun (see wndb(5WN))."""
  texts = " ".join(f"{word} 0" for word in words)
  ends = " ".join(f"{symbol} {at:08d} n 0000" for symbol, at in pointers)
  return (
    f"{offset:08d} 03 n {len(words):02x} {texts} "
    f"{len(pointers):03d} {ends} | a gloss @ 00000001 n 0000  \n"
  )


@pytest.fixture
def nouns():
  """entity > thing > (tool, toy) > yo-yo, an instance; and part-of."""
  text, at = "  1 A licence.\n", {}
  rows = (
    ("entity", ["entity"], []),
    ("thing", ["thing", *"abcdefghij"], [("@", "entity"), ("~", "entity")]),
    ("tool", ["tool"], [("@", "thing"), ("#p", "entity")]),
    ("toy", ["toy", "plaything"], [("@", "thing")]),
    ("yo-yo", ["yo-yo"], [("@i", "toy"), ("+", "entity"), ("@", "tool")]),
  )
  for name, words, pointers in rows:
    at[name] = len(text)
    text += noun(at[name], words, [(s, at[n]) for s, n in pointers])
  return text.encode(), {name: f"n{place:08d}" for name, place in at.items()}


def test_all_above_is_found_by_every_parent(nouns):
  content, ids = nouns
  assert wordnet.build(content, [ids["yo-yo"]]) == {
    ids["entity"]: [],
    ids["thing"]: [ids["entity"]],
    ids["tool"]: [ids["thing"]],
    ids["toy"]: [ids["thing"]],
    ids["yo-yo"]: sorted([ids["tool"], ids["toy"]]),
  }
  assert len(wordnet.build(content, [ids["tool"]])) == 3


@pytest.mark.parametrize("node", ["n00000003", "n99999999"])
def test_another_wordnet_is_told(nouns, node):
  with pytest.raises(ValueError, match=r"no noun at byte.*3\.0"):
    wordnet.build(nouns[0], [node])


def graph():
  return networkx.DiGraph(
    (node, parent)
    for node, above in wordnet.parents().items()
    for parent in above
  )


def test_the_hierarchy_is_that_of_imagenet():
  parents, ids = wordnet.parents(), classification.class_names("imagenet")
  validate(parents)
  assert parents.keys() >= ids.keys()
  assert [n for n, above in parents.items() if not above] == [wordnet.ROOT]
  assert len(parents) == 1860
  assert sum(len(above) > 1 for above in parents.values()) == 75
  # A class is a leaf: none lies above another, and all above lead to one.
  above = {parent for parents_ in parents.values() for parent in parents_}
  assert not above & ids.keys()
  assert above | ids.keys() == parents.keys()
  # Tench, a cyprinid; 16 edges below entity.
  assert parents["n01440764"] == ("n01439121",)
  assert networkx.shortest_path_length(graph(), "n01440764", wordnet.ROOT) == 16


def test_pruned_keeps_what_tells_leaves_apart():
  parents = {
    "root": (), "only": ("root",), "a": ("only",), "b": ("only",), "b1": ("b",),
    "b2": ("b", "root"), "x": ("a",), "y": ("b1", "a"), "z": ("b2",),
  }  # fmt: skip
  # y keeps the nearer of its parents, b1 and a; z the shorter way up by b2.
  assert wordnet.pruned(parents, ["x", "y", "z"]) == {
    "a": ("root",), "root": (), "x": ("a",), "y": ("a",), "z": ("root",),
  }  # fmt: skip
  assert wordnet.pruned(parents, ["x", "y"]) == {
    "a": (), "x": ("a",), "y": ("a",)
  }  # fmt: skip


def test_the_tree_is_as_large_as_the_papers():
  tree, ids = wordnet.tree(), classification.class_names("imagenet")
  validate(tree)
  assert [n for n, above in tree.items() if not above] == [wordnet.ROOT]
  assert sum(map(len, tree.values())) == 1369  # The paper's has 1,371 edges.
  above = collections.Counter(p for parents in tree.values() for p in parents)
  assert above.keys() | ids.keys() == tree.keys()
  assert min(above.values()) == 2
  full = graph()
  for node in ("n01440764", "n02084071", "n03001627"):
    lineage = ancestors(tree, node) - {node}
    assert lineage <= networkx.descendants(full, node)


def test_metrics_are_those_of_networkx():
  directed = graph()
  ids = [*classification.class_names("imagenet")]
  rng = np.random.default_rng(0)
  pairs = [tuple(row) for row in rng.choice(ids, (200, 2)).tolist()]
  pairs += [(ids[0], ids[0])]
  predictions, truths = zip(*pairs, strict=True)
  found = hierarchy(wordnet.parents(), predictions, truths)
  undirected = directed.to_undirected()
  ties = [networkx.shortest_path_length(undirected, p, t) for p, t in pairs]
  assert found["tie"] == pytest.approx(np.mean(ties))
  above = {
    n: {n, *networkx.descendants(directed, n)} for n in {*predictions, *truths}
  }
  rows = [(above[p], above[t]) for p, t in pairs]
  assert found["lca"] == pytest.approx(
    np.mean([len(a) - len(a & b) + 1 for a, b in rows])
  )
  assert found["jaccard"] == pytest.approx(
    np.mean([len(a & b) / len(a | b) for a, b in rows])
  )
  for a, b in itertools.islice(pairs, 20):
    assert ancestors(wordnet.parents(), a) == above[a], b


def test_the_task(make_model, tmp_path):
  task = next(task for task in catalog.TASKS if task.name == "wordnet")
  model = make_model(
    table={
      template.format(name): {"tench": (1, 0, 0), "goldfish": (0, 1, 0)}.get(
        name, (-1, -1, -1)
      )
      for template in classification.templates("imagenet")
      for name in classification.class_names("imagenet").values()
    }
  )
  with pytest.raises(MissingData, match="imagenet/val"):
    task.run(model, tmp_path)
  root = tmp_path / "imagenet" / "val"
  pictures.write(root / "n01440764" / "1.JPEG", RED, "JPEG")
  pictures.write(root / "n01440764" / "2.JPEG", GREEN, "JPEG")
  # A tench and a goldfish are cyprinids both: two edges apart.
  found = task.run(model, tmp_path)
  assert found["tie"] == 1
  assert found["lca"] == 1
  assert found["precision"] == 1
  assert set(task.paper) < set(rates.measured(found))
  assert found["tie_se"] == pytest.approx(1 / 2**0.5)
