"""Words of a hierarchy: whether they entail what is below, and their radii."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

from hyperclip_jax.evals.metrics.hierarchy import Parents, ancestors
from hyperclip_jax.evals.metrics.norms import distances
from hyperclip_jax.evals.metrics.ranking import auroc, average_precision
from hyperclip_jax.evals.rates import CHANCE
from hyperclip_jax.geometry.spaces import Space

Rows = Float[np.ndarray, "n dim"]


def inner(parents: Parents) -> list[str]:
  """Lists the nodes above others, without roots, which are above everything."""
  above = {parent for of in parents.values() for parent in of}
  return [node for node, of in parents.items() if of and node in above]


def entailment(
  space: Space,
  parents: Parents,
  nodes: Mapping[str, Float[np.ndarray, " dim"]],
  specific: Rows,
  labels: Sequence[str],
) -> dict[str, float]:
  """Compares true pairs of a word and what is below it with all other pairs.

  Args:
    space: space of the points.
    parents: hierarchy as a mapping from a node to its parents.
    nodes: embedding of each node of `inner`.
    specific: embeddings of images, or of texts.
    labels: node of each.

  Returns:
    ap and auroc of the entailment score, for a space with cones;
    similarity_ap and similarity_auroc of nearness, which knows no direction;
    ap_chance, the share of true pairs, and so on; number of pairs.
  """
  names = list(nodes)
  known = {label: ancestors(parents, label) for label in set(labels)}
  truth = np.array([[n in known[label] for n in names] for label in labels])
  general = np.tile(np.stack([nodes[name] for name in names]), (len(labels), 1))
  pairs = general, np.repeat(specific, len(names), axis=0)
  scores = {"similarity_": space.pairs(*pairs)}
  if space.cones:
    scores = {"": -space.entailment_score(*pairs)} | scores
  share, found = float(truth.mean()), {}
  for name, rows in scores.items():
    found[f"{name}ap"] = average_precision(truth.ravel(), rows)
    found[f"{name}ap{CHANCE}"] = share
    found[f"{name}auroc"] = auroc(truth.ravel(), rows)
    found[f"{name}auroc{CHANCE}"] = 0.5
  return found | {"pairs": float(truth.size)}


def radii(
  space: Space,
  parents: Parents,
  nodes: Mapping[str, Float[np.ndarray, " dim"]],
) -> dict[str, float]:
  """Measures how far from the root words of each depth lie.

  Args:
    space: space of the points.
    parents: hierarchy; the depth of a node is the number of its ancestors.
    nodes: embedding of each node's words.

  Returns:
    depth{n}, the median distance of the words of depth n from the root; and
    rank_correlation of depth and distance (Spearman's), 1 if all that is deeper
    lies further out; nothing if all are equal.
  """
  depths = np.array([len(ancestors(parents, node)) - 1 for node in nodes])
  far = distances(space, {"text": np.stack([*nodes.values()])})["text"]
  found = {
    f"depth{depth}": float(np.median(far[depths == depth]))
    for depth in sorted(set(depths.tolist()))
  }
  if np.ptp(depths) and np.ptp(far):
    correlation: Any = scipy.stats.spearmanr(depths, far)
    found["rank_correlation"] = float(correlation.statistic)
  return found
