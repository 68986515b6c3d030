"""Distances of embeddings from the root, by kind.

General concepts should lie near the root and specific ones far from it: box
texts first, then texts and box images, then images.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry.spaces import Space

KINDS = ("image", "text", "box_image", "box_text")
BINS = 60
EDGES = "bin_edges"
PERCENTILES = {"p5": 5, "median": 50, "p95": 95}
STATISTICS = ("mean", "std", *PERCENTILES)
NAMES = (EDGES, *(f"{k}_{s}" for k in KINDS for s in (*STATISTICS, "bins")))


def distances(
  space: Space, embeddings: Mapping[str, Float[np.ndarray, "_ dim"]]
) -> dict[str, np.ndarray]:
  """Measures distances from the root.

  One root is used for all kinds. On a sphere it is the mean direction of all
  finite embeddings, as in MERU's figure of CLIP.

  Args:
    space: space of the embeddings.
    embeddings: embeddings by kind, usually KINDS.

  Returns:
    float32 array (rows,) for each kind, in the order given.
  """
  rows = np.concatenate([*embeddings.values()])
  root = space.root(rows[np.isfinite(rows).all(axis=1)])
  flat = space.distance(rows, root[None]).astype(np.float32)
  ends = np.cumsum([len(rows) for rows in embeddings.values()])
  return dict(zip(embeddings, np.split(flat, ends[:-1]), strict=True))


def bins(
  distances: Mapping[str, Float[np.ndarray, "_"]],
) -> dict[str, list[float]]:
  """Counts distances in a histogram, with the same BINS bins for every kind.

  Args:
    distances: distances from the root by kind; only finite ones are counted.

  Returns:
    bin_edges, BINS + 1 distances, and {kind}_bins, BINS counts. A bin includes
    its lower edge, and the last bin also its upper edge.
  """
  finite = {
    # float64 has bin edges between any two distances that differ in float32.
    kind: rows[np.isfinite(rows)].astype(np.float64)
    for kind, rows in distances.items()
  }
  edges = np.histogram_bin_edges(np.concatenate([*finite.values()]), BINS)
  result = {EDGES: edges.tolist()}
  for kind, rows in finite.items():
    counts, _ = np.histogram(rows, edges)
    result[f"{kind}_bins"] = counts.astype(float).tolist()
  return result


def norms(
  space: Space, embeddings: Mapping[str, Float[np.ndarray, "_ dim"]]
) -> dict[str, float]:
  """Summarises the distances from the root of each kind.

  Args:
    space: space of the embeddings.
    embeddings: embeddings by kind, usually KINDS.

  Returns:
    {kind}_mean, _std, _p5, _median and _p95.
  """
  result = {}
  for kind, rows in distances(space, embeddings).items():
    result[f"{kind}_mean"] = float(np.mean(rows))
    result[f"{kind}_std"] = float(np.std(rows))
    for name, percent in PERCENTILES.items():
      result[f"{kind}_{name}"] = float(np.percentile(rows, percent))
  return result
