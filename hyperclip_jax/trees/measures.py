"""How well a table reconstructs its hierarchy: mean rank and MAP."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperclip_jax.trees.closure import Closure
from hyperclip_jax.trees.energy import Energy

AT_ONCE = 2**24  # comparisons


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
  rows = max(1, AT_ONCE // (above.shape[1] * len(table)))
  ranks, precisions = [], []
  for first in range(0, len(nodes), rows):
    own = np.resize(nodes[first : first + rows], min(rows, len(nodes)))
    found = _rows(table, jnp.asarray(own), jnp.asarray(above[own]), e.scores)
    kept = min(rows, len(nodes) - first)
    rank, precision = (np.asarray(x)[:kept] for x in found)
    true = above[own[:kept]] >= 0
    ranks.append(rank[true])
    precisions.append((precision * true).sum(1) / true.sum(1))
  return {
    "mean_rank": float(np.concatenate(ranks).mean()),
    "map": float(np.concatenate(precisions).mean()),
    "nodes": float(len(nodes)),
  }


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
