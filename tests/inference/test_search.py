"""The index: exact, in the order of distances, safe to load."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.inference import search
from hyperclip_jax.inference.search import Index

UNIT = Lorentz(1.0)
SPACES = [Sphere(), Lorentz(0.1), UNIT, Lorentz(2.5)]


def points(count, space, seed=0, dim=8):
  x = np.random.default_rng(seed).normal(size=(count, dim))
  return space.lift(x).astype(np.float32)


def index_of(x, space):
  return Index(x, [f"thing {i}" for i in range(len(x))], space)


@pytest.mark.parametrize("space", SPACES)
def test_order_is_that_of_distances(space):
  x, queries = points(300, space), points(7, space, seed=1)
  near = space.pairwise(jnp.asarray(queries), jnp.asarray(x))
  hits = index_of(x, space).search(queries, 10)
  wanted = np.argsort(-np.asarray(near), axis=1)[:, :10]
  assert [[hit.row for hit in row] for row in hits] == wanted.tolist()
  assert hits[0][0].name == f"thing {wanted[0, 0]}"


@pytest.mark.parametrize("space", SPACES)
def test_an_embedding_finds_itself(space):
  x = points(100, space)
  x[50] = x[49]  # a twin: the first of the two is told first
  hits = index_of(x, space).search(x, 2)
  assert [row[0].row for row in hits] == [*range(50), 49, *range(51, 100)]
  assert hits[50][1].row == 50
  wanted = -1 / space.curv if space.cones else 1.0
  scores = [row[0].score for row in hits]
  np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_chunks_do_not_show(monkeypatch):
  x, queries = points(300, UNIT), points(9, UNIT, seed=1)
  wanted = index_of(x, UNIT).search(queries, 5)
  monkeypatch.setattr(search, "SCORES", 600)
  assert index_of(x, UNIT).search(queries, 5) == wanted


@pytest.mark.filterwarnings("ignore:.*Swig.*:DeprecationWarning")
@pytest.mark.parametrize("space", SPACES)
def test_faiss_finds_the_same(space, monkeypatch):
  pytest.importorskip("faiss")
  x, queries = points(500, space), points(9, space, seed=1)
  wanted = index_of(x, space).search(queries, 20)
  monkeypatch.setattr(search, "LARGE", 500)
  index = index_of(x, space)
  assert index._faiss is not None
  assert index.search(queries, 20) == wanted


def test_small_and_empty_indices():
  x = points(3, UNIT)
  assert len(index_of(x, UNIT).search(x[:1], 10)[0]) == 3
  assert index_of(x[:0], UNIT).search(x, 2) == [[], [], []]
  assert index_of(x, UNIT).search(x[:0], 2) == []


@pytest.mark.parametrize("space", SPACES)
def test_saved_index_is_the_same(space, tmp_path):
  index = Index(points(3, space), ["ein Hund", "犬", 'a "dog"\n'], space, "ab")
  index.save(tmp_path / "a" / "b.index")
  again = Index.load(tmp_path / "a" / "b.index")
  np.testing.assert_array_equal(again.embeddings, index.embeddings)
  assert again.names == index.names
  assert again.space == space
  assert again.model == "ab"


def test_empty_index_is_saved(tmp_path):
  Index(points(0, UNIT), [], UNIT, "ab").save(tmp_path / "a.index")
  assert len(Index.load(tmp_path / "a.index")) == 0


def test_misuse_is_named():
  x = points(3, UNIT)
  with pytest.raises(ValueError, match="2 names for 3"):
    Index(x, ["a", "b"], UNIT)
  with pytest.raises(ValueError, match="k is 0"):
    index_of(x, UNIT).search(x, 0)
  with pytest.raises(ValueError, match=r"shape \(3, 4\): want .*\(n, 8\)"):
    index_of(x, UNIT).search(x[:, :4], 1)
  with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
    Index(np.zeros((2, 3, 4)), ["a", "b"], UNIT)


@pytest.mark.parametrize(
  "names",
  [[101, 102], [*np.array([1, 2])], [pathlib.Path("a")] * 2, [None, "b"], "ab"],
)
def test_names_are_strings_when_it_is_made(names):
  with pytest.raises(TypeError, match="names"):
    Index(points(2, UNIT), names, UNIT)


@pytest.mark.filterwarnings("ignore:.*Swig.*:DeprecationWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("large", [100_000, 1])
def test_what_is_not_finite_is_refused(bad, large, monkeypatch):
  monkeypatch.setattr(search, "LARGE", large)
  x = points(5, UNIT)
  index = index_of(x, UNIT)
  broken = x.astype(np.float64)  # 1e200 has no float32
  broken[3, 1] = bad
  with pytest.raises(ValueError, match=r"embeddings: 1 of 5 .* row 3"):
    index_of(broken, UNIT)
  with pytest.raises(ValueError, match=r"queries: 1 of 5 .* row 3"):
    index.search(broken, 2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_queries_of_any_floats(dtype):
  x = points(5, UNIT)
  (hits,) = index_of(x, UNIT).search(x[2].astype(dtype), 1)
  assert hits[0].row == 2


def test_an_index_that_names_no_model_is_read_with_a_warning(tmp_path):
  index_of(points(3, UNIT), UNIT).save(tmp_path / "old.index")
  with pytest.warns(UserWarning, match=r"old\.index does not say which model"):
    assert Index.load(tmp_path / "old.index").model is None


def test_an_index_says_what_it_is():
  shown = repr(Index(points(4, UNIT), ["a", "\x1b[2J", "c", "d"], UNIT, "ab"))
  space = "Lorentz(curv=1.0, min_radius=0.1)"
  assert shown.startswith(f"Index(4 x 8, {space}, model ab: 'a', ")
  assert "\x1b" not in shown


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  Index(points(1, UNIT), ["a"], UNIT, "ab").save("~/a.index")
  assert (tmp_path / "a.index").exists()
  assert Index.load("~/a.index").names == ["a"]


OLD = {"format": search.OLD_FORMAT}


@pytest.mark.parametrize(
  ("curv", "space"), [("0.0", Sphere()), ("0.7", Lorentz(0.7))]
)
def test_indices_of_the_first_format_are_read(curv, space, tmp_path):
  arrays = {
    "embeddings": points(2, space),
    "names": np.frombuffer(b'["a", "b"]', np.uint8),
  }
  metadata = OLD | {"curv": curv, "model": "ab"}
  safetensors.numpy.save_file(arrays, tmp_path / "a", metadata)
  index = Index.load(tmp_path / "a")
  assert (index.space, index.names, index.model) == (space, ["a", "b"], "ab")
  np.testing.assert_array_equal(index.embeddings, arrays["embeddings"])


@pytest.mark.parametrize(
  ("arrays", "metadata", "message"),
  [
    ({"kernel": np.zeros(3, np.float32)}, {}, "not an index of"),
    ({}, {"format": "other"}, "not an index of"),
    ({"embeddings": np.zeros((2, 3), np.float64)}, {}, "not an index of"),
    ({}, {"space": "much"}, "damaged index: JSONDecodeError"),
    ({}, {"space": "[" * 10**5}, "damaged index: RecursionError"),
    ({}, {"space": '{"name": "torus"}'}, "damaged index.*space is"),
    ({}, OLD | {"curv": "much"}, "damaged index: ValueError"),
    ({}, OLD | {"curv": "nan"}, "damaged index.*curv is nan"),
    ({}, OLD | {"curv": "-1"}, "damaged index.*curv is -1"),
    ({}, OLD, "damaged index: KeyError"),
    ({"embeddings": np.full((2, 3), np.nan, np.float32)}, {}, "damaged"),
    ({"embeddings": np.zeros(2, np.float32)}, {}, "damaged"),
    ({"embeddings": np.zeros((3, 3), np.float32)}, {}, "2 names for 3"),
    ({"names": np.frombuffer(b"[1, 2]", np.uint8)}, {}, "damaged"),
    ({"names": np.frombuffer(b"[" * 10**5, np.uint8)}, {}, "damaged"),
  ],
)
def test_foreign_and_damaged_files(arrays, metadata, message, tmp_path):
  sound = {
    "embeddings": np.zeros((2, 3), np.float32),
    "names": np.frombuffer(b'["a", "b"]', np.uint8),
  }
  safetensors.numpy.save_file(
    sound | arrays,
    tmp_path / "a",
    {"format": search.FORMAT, "space": '{"name": "sphere"}'} | metadata,
  )
  with pytest.raises(ValueError, match=message):
    Index.load(tmp_path / "a")


def test_pickles_are_no_indices(tmp_path):
  np.save(tmp_path / "a.npy", np.array([{}], object))
  with pytest.raises(ValueError, match="not a safetensors file"):
    Index.load(tmp_path / "a.npy")
