"""Exact nearest neighbours among many embeddings."""

import functools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax import tensors

FORMAT = "hyperclip-jax index 1"
LARGE = 100_000  # rows from which faiss is asked, where it is installed
SPARE = 16  # candidates beyond k that float32 may have put in a wrong order
SCORES = 2**25  # held at once: 128 MB


class Hit(NamedTuple):
  """One neighbour.

  Attributes:
    row: its row in the index.
    name: what the index calls it.
    score: as of `HyperCLIP.similarity`; higher is nearer.
  """

  row: int
  name: str
  score: float


class Index:
  """Embeddings to search, each with a name.

  The Lorentz inner product of x and y is the inner product of (x, x0) and
  (y, -y0), x0 and y0 their times, and falls as their distance grows: the
  nearest points are a maximum inner product search.

  Attributes:
    embeddings: (n, dim) float32.
    names: n strings.
    curv: the curvature is -curv; 0 for the unit vectors of CLIP.
  """

  def __init__(
    self,
    embeddings: Float[np.ndarray, "n dim"],
    names: Sequence[str],
    curv: float,
  ):
    if len(names) != len(embeddings):
      raise ValueError(f"{len(names)} names for {len(embeddings)} embeddings")
    self.names = list(names)
    self.curv = curv
    self._keys = np.ascontiguousarray(_with_time(embeddings, curv), np.float32)
    self._dim = embeddings.shape[1]

  @property
  def embeddings(self) -> Float[np.ndarray, "n dim"]:
    return self._keys[:, : self._dim]

  def __len__(self) -> int:
    return len(self.names)

  def search(
    self, queries: Float[np.ndarray, "q dim"], k: int
  ) -> list[list[Hit]]:
    """The `k` nearest of each query, best first; ties by row.

    Args:
      queries: embeddings of the model that made the index.
      k: how many; of a smaller index all are given.

    Raises:
      ValueError: `k` is not positive, or the widths differ.
    """
    if k < 1:
      raise ValueError(f"k is {k}: ask for at least 1")
    if queries.shape[1] != self._dim:
      raise ValueError(
        f"queries are {queries.shape[1]} wide and the index {self._dim}: "
        "it is another model's"
      )
    if not len(self):
      return [[] for _ in queries]
    wanted = _with_time(queries.astype(np.float64), self.curv)
    if self.curv:
      wanted[:, -1] *= -1
    found = self._candidates(
      wanted.astype(np.float32), min(k + SPARE, len(self))
    )
    return [
      self._ranked(query, rows, k)
      for query, rows in zip(wanted, found, strict=True)
    ]

  def save(self, path: str | pathlib.Path) -> None:
    """Writes a safetensors file, which `load` reads back."""
    names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
    tensors.write(
      pathlib.Path(path),
      {"embeddings": self.embeddings, "names": names},
      {"format": FORMAT, "curv": repr(self.curv)},
    )

  @classmethod
  def load(cls, path: str | pathlib.Path) -> "Index":
    """Reads an index; nothing in it is executed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no index.
    """
    path = pathlib.Path(path)
    with tensors.opened(path) as file:
      metadata = file.metadata() or {}
      kinds = {n: file.get_slice(n).get_dtype() for n in file.keys()}  # noqa: SIM118
      if metadata.get("format") != FORMAT or kinds != {
        "embeddings": "F32",
        "names": "U8",
      }:
        raise ValueError(f"{path}: no index of {FORMAT!r}: holds {kinds}")
      embeddings, packed = (file.get_tensor(n) for n in ("embeddings", "names"))
    try:
      names, curv = json.loads(packed.tobytes()), float(metadata["curv"])
    except (KeyError, ValueError, RecursionError) as error:
      raise ValueError(f"{path}: damaged index: {error!r}") from error
    sound = (
      embeddings.ndim == 2
      and isinstance(names, list)
      and all(isinstance(name, str) for name in names)
      and 0 <= curv < math.inf
      and np.isfinite(embeddings).all()
    )
    if not sound:
      raise ValueError(f"{path}: damaged index: bad names, curv or numbers")
    return cls(embeddings, names, curv)

  def _candidates(
    self, queries: Float[np.ndarray, "q keys"], count: int
  ) -> Int[np.ndarray, "q count"]:
    """Rows of the `count` largest float32 products, in no order."""
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
    query: Float[np.ndarray, " keys"],
    rows: Int[np.ndarray, " count"],
    k: int,
  ) -> list[Hit]:
    """The best of the candidates by float64 products."""
    keys = _with_time(self.embeddings[rows].astype(np.float64), self.curv)
    scores = keys @ query
    order = np.lexsort((rows, -scores))[:k]
    return [
      Hit(int(rows[i]), self.names[rows[i]], float(scores[i])) for i in order
    ]


def _with_time(
  x: Float[np.ndarray, "n dim"], curv: float
) -> Float[np.ndarray, "n keys"]:
  if not curv:
    return x
  squares = np.sum(np.square(x, dtype=np.float64), axis=1, keepdims=True)
  return np.concatenate([x, np.sqrt(1 / curv + squares)], axis=1)
