"""Closures of hierarchies, of files and of WordNet's nouns."""

import contextlib
import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hyperclip_jax.data import synsets
from hyperclip_jax.evals.datasets import wordnet as imagenet
from hyperclip_jax.trees import closure as closure_lib
from hyperclip_jax.trees.closure import closure

WORDNET = pathlib.Path("/usr/share/wordnet")
quick = hypothesis.settings(
  max_examples=100, deadline=None, database=None, derandomize=True
)
PETS = {"cat": ["pet", "feline"], "feline": ["animal"], "pet": ["animal"]}


def named(found):
  return {(found.names[a], found.names[b]) for a, b in found.pairs}


def test_all_pairs_of_a_node_and_one_above_it():
  found = closure(PETS | {"rock": []})
  assert named(found) == {
    ("cat", "pet"),
    ("cat", "feline"),
    ("cat", "animal"),
    ("feline", "animal"),
    ("pet", "animal"),
  }
  assert len(found.pairs) == 5
  assert set(found.names) == {"cat", "feline", "pet", "animal"}
  cat = found.names.index("cat")
  above = [found.names[i] for i in found.above()[cat]]
  assert above == ["pet", "feline", "animal"]  # the nearest first
  animal = found.names.index("animal")
  assert found.above()[animal].tolist() == [-1, -1, -1]


def test_a_root_and_nodes_left_out():
  assert named(closure(PETS, "pet")) == {("cat", "pet")}
  assert named(closure(PETS, left_out=["cat"])) == {
    ("feline", "animal"),
    ("pet", "animal"),
  }
  with pytest.raises(ValueError, match=r"no node 'do\\x1bg' in the hierarchy"):
    closure(PETS, "do\x1bg")
  with pytest.raises(ValueError, match="no pair of a node and one above it"):
    closure(PETS, "cat")


@pytest.mark.parametrize(
  "parents",
  [
    {"a": ["a"]},
    {"a": ["b"], "b": ["c"], "c": ["a"]},
    {"d": ["a"], "a": ["d"]},
  ],
)
def test_circles_are_named(parents):
  with pytest.raises(ValueError, match=r"'[a-d]' is above itself"):
    closure(parents)


@quick
@hypothesis.given(
  st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1)
)
def test_it_is_transitive(edges):
  parents = {}
  for a, b in edges:
    if a > b:  # no circles
      parents.setdefault(str(a), []).append(str(b))
  hypothesis.assume(parents)
  found = named(closure(parents))
  size = 31
  reach = np.zeros((size, size), bool)
  for node, above in parents.items():
    reach[int(node), [int(p) for p in above]] = True
  for _ in range(5):
    reach |= (reach.astype(int) @ reach.astype(int)) > 0
  assert found == {(str(a), str(b)) for a, b in np.argwhere(reach)}


def test_a_long_chain_does_not_recurse():
  parents = {str(i): [str(i + 1)] for i in range(1100)}
  assert len(closure(parents).pairs) == 1100 * 1101 // 2


def test_files_of_edges(tmp_path):
  path = tmp_path / "edges.csv"
  path.write_text('id1,id2,weight\n"cat, tame",pet,1\n\npet,animal,1\n')
  assert closure_lib.read_edges(path) == {
    "cat, tame": ["pet"],
    "pet": ["animal"],
  }
  path.write_text("cat,pet\n\x1b[2J\n")
  with pytest.raises(ValueError, match=r"row 2: want NODE,PARENT"):
    closure_lib.read_edges(path)


LINES = (
  "{0:08d} 03 n 01 Entity 0 000 | what is\n",
  "{1:08d} 03 n 02 City 0 big_city 0 001 @ {0:08d} n 0000 | a place\n",
  "{2:08d} 03 n 01 Rome 1 001 @i {1:08d} n 0000 | a | city\n",
  "{3:08d} 03 n 01 Rome 0 001 @ {0:08d} n 0000 | another\n",
)


@pytest.fixture
def folder(tmp_path):
  """Four nouns in WordNet's form, after a licence of one line."""
  lengths = [len(line.format(*range(4))) for line in LINES]
  entity, city, rome, other = places = np.cumsum([3, *lengths[:-1]]).tolist()
  text = "  \n" + "".join(line.format(*places) for line in LINES)
  (tmp_path / "data.noun").write_text(text)
  (tmp_path / "index.noun").write_text(
    "  1 licence\n"
    f"big_city n 1 1 @ 1 0 {city:08d}  \n"
    f"city n 1 1 @ 1 0 {city:08d}  \n"
    f"entity n 1 0 1 0 {entity:08d}  \n"
    f"rome n 2 1 @ 2 0 {other:08d} {rome:08d}  \n"
  )
  return tmp_path


def test_nouns_are_named_as_in_nltk(folder):
  found = closure_lib.nouns(folder)
  assert found == {
    "entity.n.01": [],
    "city.n.01": ["entity.n.01"],
    "rome.n.02": ["city.n.01"],
    "rome.n.01": ["entity.n.01"],
  }


def test_other_files_are_refused(folder):
  with pytest.raises(FileNotFoundError, match="wordnet-base"):
    closure_lib.nouns(folder / "nowhere")
  data = (folder / "data.noun").read_bytes()
  (folder / "data.noun").write_bytes(data.replace(b"03 n", b"3 n", 1))
  with pytest.raises(ValueError, match="no file of WordNet's nouns"):
    closure_lib.nouns(folder)


@quick
@hypothesis.given(st.binary(max_size=60), st.integers(0, 70))
def test_any_bytes_are_a_synset_or_refused(data, offset):
  with contextlib.suppress(ValueError):
    assert synsets.at(data, offset).offset == offset


@pytest.mark.slow
@pytest.mark.skipif(not WORDNET.exists(), reason="needs Debian's wordnet-base")
def test_wordnet_has_the_published_counts():
  parents = closure_lib.nouns(WORDNET)
  assert len(parents) == 82_115
  whole = closure(parents)
  assert (len(whole.names), len(whole.pairs)) == (82_115, 743_241)
  left_out = ("tusker.n.01", "female_mammal.n.01")
  mammals = closure(parents, "mammal.n.01", left_out)
  assert (len(mammals.names), len(mammals.pairs)) == (1_180, 6_540)
  data = (WORDNET / "data.noun").read_bytes()
  above = imagenet.parents()
  assert imagenet.build(data, above) == {n: [*above[n]] for n in above}
