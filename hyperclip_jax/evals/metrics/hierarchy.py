"""How wrong is a wrong answer? Metrics over a hierarchy of concepts.

The hierarchy is a mapping from a node to its parents; a node may have several
(WordNet has), and the root has none. A(n) is n together with its ancestors.
The metrics are those of HyCoCLIP (Pal et al., ICLR 2025, Sec. 3.3), which
counts without n itself.
"""

import graphlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

Parents = Mapping[str, tuple[str, ...]]


METRICS = ("tie", "lca", "jaccard", "precision", "recall")


def hierarchy(
  parents: Parents,
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool = True,
) -> dict[str, float]:
  """Means over the pairs (prediction p, truth t).

  Args:
    parents: The hierarchy, node -> its parents.
    predictions: The predicted nodes.
    truths: The right nodes, as many.
    own: Whether A(n) holds n itself. Without, which is how the paper counts,
      mistakes between children of one parent are no mistakes to `jaccard`,
      `precision` and `recall`.

  Returns:
    tie: Tree-induced error, the edges on the shortest path from p to t, lower
      is better.
    lca: |A(p)| - |A(p) & A(t)| + 1, how far p lies below what p and t share;
      lower is better, 1 is best.
    jaccard: |A(p) & A(t)| / |A(p) | A(t)|.
    precision: |A(p) & A(t)| / |A(p)|.
    recall: |A(p) & A(t)| / |A(t)|.

  Raises:
    ValueError: There are no pairs, the lengths differ, a node is unknown, the
      hierarchy has a cycle, no path joins a prediction to its truth, or a root
      is asked for that has no ancestors.
  """
  mean = scores(parents, predictions, truths, own).mean(axis=0)
  return dict(zip(METRICS, mean.tolist(), strict=True))


def scores(
  parents: Parents,
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool = True,
) -> Float[np.ndarray, "pairs 5"]:
  """The METRICS of each pair; takes and raises what `hierarchy` does."""
  if not truths or len(predictions) != len(truths):
    raise ValueError(
      f"{len(predictions)} predictions for {len(truths)} truths: give as many "
      f"of each, and at least one"
    )
  validate(parents)
  above = {
    n: ancestors(parents, n) - (set() if own else {n})
    for n in {*predictions, *truths}
  }
  if not all(above.values()):
    raise ValueError("a root has no ancestors but itself")
  neighbours = _neighbours(parents)
  edges = {truth: _edges_from(truth, neighbours) for truth in set(truths)}
  rows = []
  for p, t in zip(predictions, truths, strict=True):
    if p not in edges[t]:
      raise ValueError(f"no path in the hierarchy joins {p!r} to {t!r}")
    both = len(above[p] & above[t])
    rows.append(
      (
        edges[t][p],
        len(above[p]) - both + 1,
        both / len(above[p] | above[t]),
        both / len(above[p]),
        both / len(above[t]),
      )
    )
  return np.array(rows, np.float64)


def validate(parents: Parents) -> None:
  """Raises ValueError if a parent is not a node, or if there is a cycle."""
  for node, above in parents.items():
    for parent in above:
      if parent not in parents:
        raise ValueError(
          f"{parent!r}, a parent of {node!r}, is not in the hierarchy"
        )
  try:
    graphlib.TopologicalSorter(parents).prepare()
  except graphlib.CycleError as error:
    cycle = " -> ".join(error.args[1])
    raise ValueError(f"the hierarchy has a cycle: {cycle}") from None


def ancestors(parents: Parents, node: str) -> frozenset[str]:
  """The node itself and all that lies above it, in a valid hierarchy."""
  if node not in parents:
    raise ValueError(f"{node!r} is not in the hierarchy")
  found, todo = {node}, [node]
  while todo:
    new = set(parents[todo.pop()]) - found
    found |= new
    todo.extend(new)
  return frozenset(found)


def _neighbours(parents: Parents) -> dict[str, set[str]]:
  """The hierarchy without directions: parents and children of every node."""
  neighbours = {node: set(above) for node, above in parents.items()}
  for node, above in parents.items():
    for parent in above:
      neighbours[parent].add(node)
  return neighbours


def _edges_from(source: str, neighbours: Mapping[str, set[str]]):
  """Edges on the shortest path from the source to each node it reaches."""
  distance, ring = {source: 0}, {source}
  while ring:
    further = distance[next(iter(ring))] + 1
    ring = {n for node in ring for n in neighbours[node]} - distance.keys()
    distance |= dict.fromkeys(ring, further)
  return distance
