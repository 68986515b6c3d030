"""Hierarchical metrics: how far a wrong class is from the right one.

The hierarchy maps a node to its parents; a node may have several, as in
WordNet, and the root has none. A(n) is n together with its ancestors. The
metrics are those of HyCoCLIP (Pal et al., ICLR 2025, Sec. 3.3), which leaves n
itself out of A(n).
"""

import collections
import graphlib
from collections.abc import Mapping, Sequence, Set

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from hyperclip_jax.evals.rates import means

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
  chosen, right = [*dict.fromkeys(predictions)], [*dict.fromkeys(truths)]
  table = _scores(parents, chosen, right, own)
  rows = _of_pairs(table, chosen, right, predictions, truths)
  _check(rows, predictions, truths)
  return rows


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

  Raises:
    ValueError: there are no pairs, or the lengths differ.
  """
  chosen, right = [*dict.fromkeys(predictions)], [*dict.fromkeys(truths)]
  table = _kinship(parents, chosen, right)
  return _of_pairs(table, chosen, right, predictions, truths)


def rated(
  parents: Parents,
  classes: Sequence[str],
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool = True,
) -> dict[str, float]:
  """Averages METRICS and KINSHIP of a classifier, with errors and chance.

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    classes: nodes that may be predicted.
    predictions: predicted nodes, each one of `classes`.
    truths: right nodes, as many.
    own: whether A(n) includes n in METRICS.

  Returns:
    Means as in `rates.means`; guesses choose all classes equally often.

  Raises:
    ValueError: as in `hierarchy`.
  """
  names = (*METRICS, *KINSHIP)
  counts = collections.Counter(truths)
  right, weights = [*counts], [*counts.values()]
  table = np.dstack(
    [
      _scores(parents, classes, right, own),
      _kinship(parents, classes, right),
    ]
  )
  rows = _of_pairs(table, classes, right, predictions, truths)
  _check(rows, predictions, truths)
  guesses = np.average(table.mean(axis=0), axis=0, weights=weights).tolist()
  return means(names, rows, dict(zip(names, guesses, strict=True)))


def _of_pairs(
  table: np.ndarray,
  chosen: Sequence[str],
  right: Sequence[str],
  predictions: Sequence[str],
  truths: Sequence[str],
) -> np.ndarray:
  """Takes the rows of pairs out of a table (chosen, right, measures)."""
  if not truths or len(predictions) != len(truths):
    raise ValueError(
      f"{len(predictions)} predictions for {len(truths)} truths: give as many "
      f"of each, and at least one"
    )
  row, column = _places(chosen), _places(right)
  return table[[row[p] for p in predictions], [column[t] for t in truths]]


def _check(rows, predictions: Sequence[str], truths: Sequence[str]) -> None:
  """Checks that a path joins each prediction to its truth."""
  apart = np.isinf(rows[:, 0])
  if apart.any():
    first = int(apart.argmax())
    raise ValueError(
      f"no path in the hierarchy joins {predictions[first]!r} to "
      f"{truths[first]!r}"
    )


def _scores(
  parents: Parents,
  predictions: Sequence[str],
  truths: Sequence[str],
  own: bool,
) -> Float[np.ndarray, "predictions truths 5"]:
  """Computes the METRICS of all pairs; those that no path joins are inf far."""
  validate(parents)
  above = {
    n: ancestors(parents, n) - (set() if own else {n})
    for n in {*predictions, *truths}
  }
  if not all(above.values()):
    raise ValueError("a root has no ancestors; pass own=True to count it")
  of_p, of_t = _sets(
    parents, [[above[n] for n in predictions], [above[n] for n in truths]]
  )
  both = of_p @ of_t.T
  sizes_p, sizes_t = of_p.sum(axis=1)[:, None], of_t.sum(axis=1)[None]
  return np.stack(
    [
      _edges(parents, predictions, truths),
      sizes_p - both + 1,
      both / (sizes_p + sizes_t - both),
      both / sizes_p,
      both / sizes_t,
    ],
    axis=2,
  )


def _kinship(
  parents: Parents, predictions: Sequence[str], truths: Sequence[str]
) -> Bool[np.ndarray, "predictions truths 2"]:
  """Finds KINSHIP of all pairs."""
  sides = [[{n} for n in predictions], [{n} for n in truths]]
  found = []
  for _ in KINSHIP:
    sides = [
      [{p for n in of for p in parents[n] or (n,)} for of in side]
      for side in sides
    ]
    of_p, of_t = _sets(parents, sides)
    found.append(of_p @ of_t.T > 0)
  return np.stack(found, axis=2)


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


def _sets(
  parents: Parents, sides: Sequence[Sequence[Set[str]]]
) -> list[Float[np.ndarray, "rows nodes"]]:
  """Marks the nodes of each set by 1, one row a set."""
  column = _places([*parents])
  found = [np.zeros((len(side), len(column))) for side in sides]
  for rows, side in zip(found, sides, strict=True):
    for row, nodes in zip(rows, side, strict=True):
      row[[column[node] for node in nodes]] = 1
  return found


def _places(nodes: Sequence[str]) -> dict[str, int]:
  return {node: place for place, node in enumerate(nodes)}


def _edges(
  parents: Parents, predictions: Sequence[str], truths: Sequence[str]
) -> Float[np.ndarray, "predictions truths"]:
  """Counts the edges from each prediction to each truth; inf where no path."""
  place = _places([*parents])
  ends = [
    (place[node], place[parent])
    for node, above in parents.items()
    for parent in above
  ]
  rows, columns = np.array(ends, int).reshape(-1, 2).T
  shape = (len(place), len(place))
  graph = csr_array((np.ones(len(ends)), (rows, columns)), shape)
  starts = [place[truth] for truth in truths]
  found = dijkstra(graph, directed=False, indices=starts, unweighted=True)
  return found[:, [place[p] for p in predictions]].T
