"""The index: exact, in the order of distances, safe to load."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.inference import search
from hyperclip_jax.inference.search import Index

CURVES = [0.0, 0.1, 1.0, 2.5]


def points(count, curv, seed=0, dim=8):
  x = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
  if curv:
    return np.array(lorentz.expmap0(jnp.asarray(x), curv))
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def index_of(x, curv):
  return Index(x, [f"thing {i}" for i in range(len(x))], curv)


@pytest.mark.parametrize("curv", CURVES)
def test_order_is_that_of_distances(curv):
  x, queries = points(300, curv), points(7, curv, seed=1)
  if curv:
    a, b = jnp.asarray(queries), jnp.asarray(x)
    near = -np.asarray(lorentz.pairwise_dist(a, b, curv))
  else:
    near = queries @ x.T
  hits = index_of(x, curv).search(queries, 10)
  wanted = np.argsort(-near, axis=1)[:, :10]
  assert [[hit.row for hit in row] for row in hits] == wanted.tolist()
  assert hits[0][0].name == f"thing {wanted[0, 0]}"


@pytest.mark.parametrize("curv", CURVES)
def test_an_embedding_finds_itself(curv):
  x = points(100, curv)
  x[50] = x[49]  # a twin: the first of the two is told first
  hits = index_of(x, curv).search(x, 2)
  assert [row[0].row for row in hits] == [*range(50), 49, *range(51, 100)]
  assert hits[50][1].row == 50
  wanted = -1 / curv if curv else 1.0
  scores = [row[0].score for row in hits]
  np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_chunks_do_not_show(monkeypatch):
  x, queries = points(300, 1.0), points(9, 1.0, seed=1)
  wanted = index_of(x, 1.0).search(queries, 5)
  monkeypatch.setattr(search, "SCORES", 600)
  assert index_of(x, 1.0).search(queries, 5) == wanted


@pytest.mark.filterwarnings("ignore:.*Swig.*:DeprecationWarning")
@pytest.mark.parametrize("curv", CURVES)
def test_faiss_finds_the_same(curv, monkeypatch):
  pytest.importorskip("faiss")
  x, queries = points(500, curv), points(9, curv, seed=1)
  wanted = index_of(x, curv).search(queries, 20)
  monkeypatch.setattr(search, "LARGE", 500)
  index = index_of(x, curv)
  assert index._faiss is not None
  assert index.search(queries, 20) == wanted


def test_small_and_empty_indices():
  x = points(3, 1.0)
  assert len(index_of(x, 1.0).search(x[:1], 10)[0]) == 3
  assert index_of(x[:0], 1.0).search(x, 2) == [[], [], []]
  assert index_of(x, 1.0).search(x[:0], 2) == []


@pytest.mark.parametrize("curv", CURVES)
def test_saved_index_is_the_same(curv, tmp_path):
  index = Index(points(3, curv), ["ein Hund", "犬", 'a "dog"\n'], curv, "ab")
  index.save(tmp_path / "a" / "b.index")
  again = Index.load(tmp_path / "a" / "b.index")
  np.testing.assert_array_equal(again.embeddings, index.embeddings)
  assert again.names == index.names
  assert again.curv == curv
  assert again.model == "ab"


def test_empty_index_is_saved(tmp_path):
  Index(points(0, 1.0), [], 1.0, "ab").save(tmp_path / "a.index")
  assert len(Index.load(tmp_path / "a.index")) == 0


def test_misuse_is_named():
  x = points(3, 1.0)
  with pytest.raises(ValueError, match="2 names for 3"):
    Index(x, ["a", "b"], 1.0)
  with pytest.raises(ValueError, match="k is 0"):
    index_of(x, 1.0).search(x, 0)
  with pytest.raises(ValueError, match=r"shape \(3, 4\): want .*\(n, 8\)"):
    index_of(x, 1.0).search(x[:, :4], 1)
  with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
    Index(np.zeros((2, 3, 4)), ["a", "b"], 1.0)


@pytest.mark.parametrize(
  "names",
  [[101, 102], [*np.array([1, 2])], [pathlib.Path("a")] * 2, [None, "b"], "ab"],
)
def test_names_are_strings_when_it_is_made(names):
  with pytest.raises(TypeError, match="names"):
    Index(points(2, 1.0), names, 1.0)


@pytest.mark.filterwarnings("ignore:.*Swig.*:DeprecationWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("large", [100_000, 1])
def test_what_is_not_finite_is_refused(bad, large, monkeypatch):
  monkeypatch.setattr(search, "LARGE", large)
  x = points(5, 1.0)
  index = index_of(x, 1.0)
  broken = x.astype(np.float64)  # 1e200 has no float32
  broken[3, 1] = bad
  with pytest.raises(ValueError, match=r"embeddings: 1 of 5 .* row 3"):
    index_of(broken, 1.0)
  with pytest.raises(ValueError, match=r"queries: 1 of 5 .* row 3"):
    index.search(broken, 2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_queries_of_any_floats(dtype):
  x = points(5, 1.0)
  (hits,) = index_of(x, 1.0).search(x[2].astype(dtype), 1)
  assert hits[0].row == 2


def test_an_index_that_names_no_model_is_read_with_a_warning(tmp_path):
  index_of(points(3, 1.0), 1.0).save(tmp_path / "old.index")
  with pytest.warns(UserWarning, match=r"old\.index does not say which model"):
    assert Index.load(tmp_path / "old.index").model is None


def test_an_index_says_what_it_is():
  shown = repr(Index(points(4, 1.0), ["a", "\x1b[2J", "c", "d"], 1.0, "ab"))
  assert shown.startswith("Index(4 x 8, curv 1, model ab: 'a', ")
  assert "\x1b" not in shown


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  Index(points(1, 1.0), ["a"], 1.0, "ab").save("~/a.index")
  assert (tmp_path / "a.index").exists()
  assert Index.load("~/a.index").names == ["a"]


@pytest.mark.parametrize(
  ("arrays", "metadata", "message"),
  [
    ({"kernel": np.zeros(3, np.float32)}, {}, "no index of"),
    ({}, {"format": "other"}, "no index of"),
    ({"embeddings": np.zeros((2, 3), np.float64)}, {}, "no index of"),
    ({}, {"curv": "much"}, "damaged index: ValueError"),
    ({}, {"curv": "nan"}, "damaged index: curv is nan"),
    ({}, {"curv": "-1"}, "damaged index: curv is -1"),
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
    {"format": search.FORMAT, "curv": "1.0"} | metadata,
  )
  with pytest.raises(ValueError, match=message):
    Index.load(tmp_path / "a")


def test_pickles_are_no_indices(tmp_path):
  np.save(tmp_path / "a.npy", np.array([{}], object))
  with pytest.raises(ValueError, match="not a safetensors file"):
    Index.load(tmp_path / "a.npy")
