"""How well a table reconstructs its hierarchy: mean rank and MAP."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperclip_jax.trees.closure import Closure
from hyperclip_jax.trees.energy import Energy

AT_ONCE = 2**24  # comparisons
ALIKE = 2**30  # comparisons up to which all rows have one shape


def reconstruction(
  e: Energy,
  table: Float[Array, "nodes dim"],
  closure: Closure,
  nodes: Int[np.ndarray, "some"] | None = None,
) -> dict[str, float]:
  """Ranks the nodes above each node among all nodes (Nickel and Kiela, 2017).

  All other nodes are sorted by (energy, number). The rank of one above is its
  place when the others above are left out; the average precision of a node is
  the mean, over those above it, of their share among all up to there.

  Args:
    e: energy of the table.
    table: coordinates of the nodes.
    closure: true relation.
    nodes: nodes to measure on, of those that have others above them; None for
      all.

  Returns:
    "mean_rank" over pairs, "map" over nodes, and "nodes", the number of them.
  """
  above = closure.above()
  if nodes is None:
    nodes = np.flatnonzero(above[:, 0] >= 0)
  nodes = nodes[above[nodes, 0] >= 0]
  # All are started before any is awaited, so that cores share them.
  started = [
    (others, _rows(table, jnp.asarray(own), jnp.asarray(others), e.scores))
    for own, others in _jobs(nodes, above, len(table))
  ]
  ranks, precisions = [], []
  for others, found in started:
    rank, precision = map(np.asarray, found)
    true = others >= 0
    ranks.append(rank[true])
    kept = true[:, 0]
    precisions.append(
      np.mean(precision[kept], axis=1, where=true[kept], dtype=np.float64)
    )
  return {
    "mean_rank": float(np.concatenate(ranks).mean()),
    "map": float(np.concatenate(precisions).mean()),
    "nodes": float(len(nodes)),
  }


def _jobs(nodes, above, total):
  """Yields some nodes, and the others above each, of few shapes in all.

  Most nodes have few others above them, and the work grows with the most: in
  large hierarchies nodes with about as many are together.
  """
  counts, most = np.sum(above[nodes] >= 0, axis=1), above.shape[1]
  widths = np.full(len(nodes), most)
  if len(nodes) * total * most > ALIKE:
    widths = np.minimum(2 ** np.ceil(np.log2(counts)).astype(int), most)
  for width in np.unique(widths).tolist():
    same = nodes[widths == width]
    rows = min(len(same), max(1, AT_ONCE // (width * total)))
    for first in range(0, len(same), rows):
      own = same[first : first + rows]
      others = above[own, :width]
      missing = rows - len(own)  # filled up with nodes that do not count
      yield (
        np.pad(own, (0, missing)),
        np.pad(others, ((0, missing), (0, 0)), constant_values=-1),
      )


@functools.partial(jax.jit, static_argnums=3)
def _rows(table, nodes, above, scores):
  """Ranks, and shares up to there, of those above some nodes (rows, most)."""
  numbers = jnp.arange(len(table))

  def one(node, above):
    energies = scores(table[node][None], table)
    own = energies[above]
    # Those above that are smaller in the order of (energy, number).
    true = above >= 0
    before = _before(own[None], above[None], own[:, None], above[:, None])
    places = 1 + jnp.sum(before & true[None], axis=1)
    before = _before(
      energies[None], numbers[None], own[:, None], above[:, None]
    )
    before = jnp.sum(before & (numbers != node)[None], axis=1)
    return before - places + 2, places / (before + 1)

  return jax.lax.map(lambda x: one(*x), (nodes, above))


def _before(energy, number, other_energy, other_number):
  equal = energy == other_energy
  return (energy < other_energy) | (equal & (number < other_number))
