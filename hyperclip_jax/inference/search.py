"""Exact search for nearest neighbours among many embeddings."""

import functools
import json
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from hyperclip_jax.checkpoints import tensors
from hyperclip_jax.files import expanded, shown
from hyperclip_jax.geometry import spaces
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference import inputs

FORMAT = "hyperclip-jax index 2"
OLD_FORMAT = "hyperclip-jax index 1"  # had a curvature, 0 of CLIP, for a space
LARGE = 100_000  # rows from which faiss is used, if it is installed
SPARE = 16  # candidates beyond k, since float32 may order them wrongly
SCORES = 2**25  # held in memory at once: 128 MB


class Hit(NamedTuple):
  """One neighbour.

  Attributes:
    row: row in the index.
    name: name in the index.
    score: `HyperCLIP.similarity`; higher is nearer.
  """

  row: int
  name: str
  score: float


class Index:
  """Named embeddings to search in.

  Search is for the highest `Space.similarity`. Where that is an inner product
  (`Space.by_products`), float32 products find candidates and float64 products
  rank them; elsewhere all scores are computed in float64.

  Attributes:
    embeddings: (n, dim) float32.
    names: n strings.
    space: space of the embeddings.
    model: fingerprint of the model that made the embeddings; None if unknown.
  """

  def __init__(
    self,
    embeddings: inputs.Rows,
    names: Sequence[str],
    space: Space,
    model: str | None = None,
  ):
    """Keeps a float32 copy of the embeddings.

    Args:
      embeddings: array of floats (n, dim).
      names: n strings.
      space: space of the embeddings, such as `HyperCLIP.space`.
      model: `HyperCLIP.fingerprint` of the model that made them; None if
        unknown.

    Raises:
      TypeError: the names are not a list of strings, the embeddings not floats,
        or the space not a space.
      ValueError: the numbers of names and rows differ, or a row is not finite.
    """
    if not isinstance(space, Space):
      raise TypeError(f"space is {shown(space)}: give a model's `space`")
    self.names = inputs.strings("names", names)
    array = np.asarray(embeddings)
    width = array.shape[-1] if array.ndim else 0
    array = inputs.rows("embeddings", array, width)
    if len(self.names) != len(array):
      raise ValueError(f"{len(self.names)} names for {len(array)} embeddings")
    self.space, self.model = space, model
    rows = _single(array)
    self._keys = _single(space.keys(rows)) if space.by_products else rows
    inputs.finite("embeddings", self._keys)
    self._dim = width

  def __repr__(self) -> str:
    some = ", ".join(shown(repr(name), 30) for name in self.names[:3])
    more = ", ..." if len(self) > 3 else ""
    return (
      f"Index({len(self):,} x {self._dim}, {self.space}, "
      f"model {self.model}: {some}{more})"
    )

  @property
  def embeddings(self) -> Float[np.ndarray, "n dim"]:
    return self._keys[:, : self._dim]

  def __len__(self) -> int:
    return len(self.names)

  def check_model(self, width: int, space: Space, model: str) -> None:
    """Checks that a model made the index.

    Args:
      width: width of the model's embeddings.
      space: space of the model's embeddings.
      model: fingerprint of the model.

    Raises:
      ValueError: another model made the index.
    """
    if self._dim != width or not spaces.alike(self.space, space):
      raise ValueError(
        f"the index is another model's: {self._dim} wide in {self.space}, this "
        f"one has {width} in {space}"
      )
    if self.model not in (None, model):
      raise ValueError(
        f"the index is another model's: it was made by {shown(self.model)}, "
        f"and this one is {model}; rebuild it"
      )

  def search(self, queries: inputs.Rows, k: int) -> list[list[Hit]]:
    """Searches for the nearest entries to queries.

    Args:
      queries: embeddings (q, dim), or one (dim,), of the model that made the
        index.
      k: number of entries to return; a smaller index returns all.

    Returns:
      Up to `k` hits for each query, best first; ties are ordered by row.

    Raises:
      TypeError: the queries are not floats, or `k` is not a whole number.
      ValueError: `k` is not positive, the widths differ, or a query is not
        finite.
    """
    k = inputs.whole("k", k)
    found = inputs.rows("queries", queries, self._dim)
    inputs.finite("queries", _single(found))
    if not len(self):
      return [[] for _ in found]
    if not self.space.by_products:
      return self._among_all(found.astype(np.float64), min(k, len(self)))
    wanted = self.space.queries(found.astype(np.float64))
    count = min(k + SPARE, len(self))
    rows = self._candidates(_single(wanted), count)
    step = max(1, SCORES // (8 * count * wanted.shape[1]))
    return [
      hits
      for start in range(0, len(rows), step)
      for hits in self._ranked(
        wanted[start : start + step], rows[start : start + step], k
      )
    ]

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes a safetensors file, which `load` reads.

    Args:
      path: file to write; missing folders are created.
    """
    names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
    space = json.dumps(spaces.to_json(self.space))
    metadata = {"format": FORMAT, "space": space}
    if self.model is not None:
      metadata["model"] = self.model
    path = expanded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"embeddings": self.embeddings, "names": names}
    tensors.write(path, arrays, metadata)

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> "Index":
    """Reads an index; nothing in the file is executed.

    An index without a fingerprint, of an early version, is read with a warning:
    only its width and space can be compared with those of a model.

    Args:
      path: file that `save` wrote.

    Returns:
      Index of the file.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is not an index.
    """
    path = expanded(path)
    with tensors.opened(path) as file:
      metadata = file.metadata() or {}
      kinds = {n: file.get_slice(n).get_dtype() for n in file.keys()}  # noqa: SIM118
      known = metadata.get("format") in (FORMAT, OLD_FORMAT)
      if not known or kinds != {
        "embeddings": "F32",
        "names": "U8",
      }:
        raise ValueError(
          f"{path}: not an index of {FORMAT!r}: contains {kinds}"
        )
      embeddings, packed = (file.get_tensor(n) for n in ("embeddings", "names"))
    try:
      names, space = json.loads(packed.tobytes()), _space(metadata)
    except (KeyError, ValueError, RecursionError) as error:
      raise ValueError(f"{path}: damaged index: {error!r}") from error
    if embeddings.ndim != 2 or not isinstance(names, list):
      raise ValueError(f"{path}: damaged index: bad names or shape")
    try:
      found = cls(embeddings, names, space, metadata.get("model"))
    except (TypeError, ValueError) as error:
      raise ValueError(f"{path}: damaged index: {error}") from error
    if found.model is None:
      warnings.warn(
        f"{path} does not say which model made it: another model of the same "
        "width would not be noticed; rebuild it",
        stacklevel=2,
      )
    return found

  def _candidates(
    self, queries: Float[np.ndarray, "q keys"], count: int
  ) -> Int[np.ndarray, "q count"]:
    """Finds the rows of the `count` largest float32 products, unordered."""
    if self._faiss is not None:
      return self._faiss.search(queries, count)[1]
    step = max(1, SCORES // len(self))
    found = []
    for start in range(0, len(queries), step):
      scores = queries[start : start + step] @ self._keys.T
      found.append(np.argpartition(-scores, count - 1, axis=1)[:, :count])
    return np.concatenate([np.zeros((0, count), np.int64), *found])

  @functools.cached_property
  def _faiss(self) -> Any:
    if len(self) < LARGE:
      return None
    try:
      import faiss
    except ImportError:
      return None
    index = faiss.IndexFlatIP(self._keys.shape[1])
    index.add(self._keys)
    return index

  def _ranked(
    self,
    queries: Float[np.ndarray, "q keys"],
    rows: Int[np.ndarray, "q count"],
    k: int,
  ) -> list[list[Hit]]:
    """Ranks candidates by float64 products."""
    keys = self.space.keys(self.embeddings[rows.ravel()].astype(np.float64))
    scores = np.einsum(
      "qcd,qd->qc", keys.reshape(*rows.shape, -1), queries, optimize=True
    )
    return self._best(rows, scores, k)

  def _among_all(
    self, queries: Float[np.ndarray, "q dim"], k: int
  ) -> list[list[Hit]]:
    """Ranks all rows by their scores, for some queries at a time."""
    step = max(1, SCORES // len(self))
    hits = []
    for start in range(0, len(queries), step):
      scores = self.space.similarity(
        queries[start : start + step], self.embeddings
      )
      # includes all rows that tie with the k-th, to be ordered by row
      least = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
      for row_scores, bound in zip(scores, least, strict=True):
        (rows,) = np.nonzero(row_scores >= bound)
        hits += self._best(rows[None], row_scores[rows][None], k)
    return hits

  def _best(
    self,
    rows: Int[np.ndarray, "q count"],
    scores: Float[np.ndarray, "q count"],
    k: int,
  ) -> list[list[Hit]]:
    """Orders candidates by score, ties by row, and keeps the first k."""
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    rows, scores = (np.take_along_axis(a, order, 1) for a in (rows, scores))
    return [
      [Hit(i, self.names[i], score) for i, score in zip(*pair, strict=True)]
      for pair in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def _space(metadata: dict[str, str]) -> Space:
  if metadata["format"] == FORMAT:
    return spaces.from_json(json.loads(metadata["space"]))
  curv = float(metadata["curv"])
  old = {"name": "lorentz", "curv": curv} if curv else {"name": "sphere"}
  return spaces.from_json(old)


def _single(
  x: Float[np.ndarray, "n keys"],
) -> Float32[np.ndarray, "n keys"]:
  with np.errstate(over="ignore", invalid="ignore"):  # rejected later
    return np.ascontiguousarray(x, np.float32)
