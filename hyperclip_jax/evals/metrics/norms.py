"""How far from the root each kind of embedding lies.

General things should lie near the root and specific things far from it: box
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
  """Distances from the root by kind.

  All kinds are measured from one root. On a sphere it is the mean direction of
  all that is measured and finite, as in MERU's figure of CLIP.

  Args:
    space: Where the embeddings live.
    embeddings: Lifted embeddings by kind, usually KINDS.

  Returns:
    One array (rows,) a kind, in the order given.
  """
  rows = np.concatenate([*embeddings.values()])
  root = space.root(rows[np.isfinite(rows).all(axis=1)])
  flat = space.distance(rows, root[None]).astype(np.float32)
  ends = np.cumsum([len(rows) for rows in embeddings.values()])
  return dict(zip(embeddings, np.split(flat, ends[:-1]), strict=True))


def bins(
  distances: Mapping[str, Float[np.ndarray, "_"]],
) -> dict[str, list[float]]:
  """How many rows of each kind lie in which of BINS bins that all share.

  Args:
    distances: From the root by kind; what is not finite is not counted.

  Returns:
    bin_edges, BINS + 1 distances; and {kind}_bins, BINS counts. A bin holds
    its lower edge, and the last one its upper edge too.
  """
  finite = {
    # Wide enough for bins between any two distances that differ in float32.
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
  """{kind}_mean, _std, _p5, _median and _p95 of the distances from the root."""
  result = {}
  for kind, rows in distances(space, embeddings).items():
    result[f"{kind}_mean"] = float(np.mean(rows))
    result[f"{kind}_std"] = float(np.std(rows))
    for name, percent in PERCENTILES.items():
      result[f"{kind}_{name}"] = float(np.percentile(rows, percent))
  return result
