"""Hierarchical metrics: how far a wrong class is from the right one.

The hierarchy maps a node to its parents; a node may have several, as in
WordNet, and the root has none. A(n) is n together with its ancestors. The
metrics are those of HyCoCLIP (Pal et al., ICLR 2025, Sec. 3.3), which leaves n
itself out of A(n).
"""

import graphlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

Parents = Mapping[str, tuple[str, ...]]


METRICS = ("tie", "lca", "jaccard", "precision", "recall")
KINSHIP = ("same_parent", "same_grandparent")


def hierarchy(
  parents: Parents,
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool = True,
) -> dict[str, float]:
  """Averages the hierarchical metrics over pairs (prediction p, truth t).

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    predictions: predicted nodes.
    truths: right nodes, as many.
    own: whether A(n) includes n. Without it, as in the paper, `jaccard`,
      `precision` and `recall` do not penalise confusing two children of one
      parent.

  Returns:
    tie: tree-induced error, edges on the shortest path from p to t; lower is
      better.
    lca: |A(p)| - |A(p) & A(t)| + 1, depth of p below the ancestors shared with
      t; lower is better, 1 is best.
    jaccard: |A(p) & A(t)| / |A(p) | A(t)|.
    precision: |A(p) & A(t)| / |A(p)|.
    recall: |A(p) & A(t)| / |A(t)|.

  Raises:
    ValueError: there are no pairs, the lengths differ, a node is unknown, the
      hierarchy has a cycle, no path joins a prediction to its truth, or without
      `own` a node is a root.
  """
  mean = scores(parents, predictions, truths, own).mean(axis=0)
  return dict(zip(METRICS, mean.tolist(), strict=True))


def scores(
  parents: Parents,
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool = True,
) -> Float[np.ndarray, "pairs 5"]:
  """Computes the METRICS of each pair; see `hierarchy`.

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    predictions: predicted nodes.
    truths: right nodes, as many.
    own: whether A(n) includes n.

  Returns:
    One row for each pair, one column for each of METRICS.

  Raises:
    ValueError: as in `hierarchy`.
  """
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
    raise ValueError("a root has no ancestors; pass own=True to count it")
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


def kinship(
  parents: Parents, predictions: Sequence[str], truths: Sequence[str]
) -> Bool[np.ndarray, "pairs 2"]:
  """Returns whether predictions are right one and two levels above.

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    predictions: predicted nodes.
    truths: right nodes, as many.

  Returns:
    A row for each pair with the columns KINSHIP: whether they have a parent in
    common, and a grandparent; roots are their own parents.
  """
  found = []
  for pair in zip(predictions, truths, strict=True):
    sets, row = [{node} for node in pair], []
    for _ in KINSHIP:
      sets = [{p for n in of for p in parents[n] or (n,)} for of in sets]
      row.append(bool(sets[0] & sets[1]))
    found.append(row)
  return np.array(found, bool).reshape(len(found), len(KINSHIP))


def validate(parents: Parents) -> None:
  """Checks that all parents are nodes and that there is no cycle.

  Args:
    parents: hierarchy as a mapping from a node to its parents.

  Raises:
    ValueError: a parent is not a node, or there is a cycle.
  """
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
  """Returns a node and all nodes above it.

  Args:
    parents: hierarchy without cycles.
    node: node to start from.

  Returns:
    The node and its ancestors.

  Raises:
    ValueError: the node is not in the hierarchy.
  """
  if node not in parents:
    raise ValueError(f"{node!r} is not in the hierarchy")
  found, todo = {node}, [node]
  while todo:
    new = set(parents[todo.pop()]) - found
    found |= new
    todo.extend(new)
  return frozenset(found)


def _neighbours(parents: Parents) -> dict[str, set[str]]:
  """Returns the undirected graph: parents and children of every node."""
  neighbours = {node: set(above) for node, above in parents.items()}
  for node, above in parents.items():
    for parent in above:
      neighbours[parent].add(node)
  return neighbours


def _edges_from(source: str, neighbours: Mapping[str, set[str]]):
  """Returns the distance, in edges, to each node that can be reached."""
  distance, ring = {source: 0}, {source}
  while ring:
    further = distance[next(iter(ring))] + 1
    ring = {n for node in ring for n in neighbours[node]} - distance.keys()
    distance |= dict.fromkeys(ring, further)
  return distance
