"""Trains the table of an embedding by Riemannian SGD on sparse rows.

Nickel and Kiela, Poincare Embeddings for Learning Hierarchical
Representations, NeurIPS 2017, and Learning Continuous Hierarchies in the
Lorentz Model of Hyperbolic Geometry, ICML 2018.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hyperclip_jax.optim import riemannian
from hyperclip_jax.trees.closure import Closure
from hyperclip_jax.trees.energy import Energy, energy
from hyperclip_jax.trees.options import Options

STEPS = 1_000  # at most of one call, whose negatives are in memory together

Table = Float[Array, "nodes dim"]


class Epoch(NamedTuple):
  """State after an epoch.

  Attributes:
    number: epochs done.
    table: coordinates of the nodes.
    loss: mean loss of its pairs.
  """

  number: int
  table: Table
  loss: float


def start(o: Options, nodes: int) -> Table:
  """Draws the table that training starts from, near the root."""
  key = jax.random.key(o.seed)
  return jax.random.uniform(key, (nodes, o.dim), jnp.float32, -1, 1) * o.spread


def epochs(
  o: Options, closure: Closure, table: Table, done: int = 0
) -> Iterator[Epoch]:
  """Trains epoch by epoch.

  Random numbers are those of the seed and of the number of the epoch, so that
  a run may go on from any of them.

  Args:
    o: options of the embedding.
    closure: relation to embed.
    table: coordinates after `done` epochs.
    done: number of epochs done.

  Yields:
    State after each epoch, up to `o.epochs`.
  """
  above = jnp.asarray(closure.above())
  occurs = np.bincount(closure.pairs.ravel(), minlength=len(closure.names))
  shares = occurs.astype(np.float64) ** o.burn_in_power
  often = jnp.asarray(np.cumsum(shares) / shares.sum(), jnp.float32)
  steps = -(-len(closure.pairs) // o.batch_size)
  calls = -(-steps // STEPS)
  each = -(-steps // calls) * o.batch_size  # pairs of a call
  for number in range(done, o.epochs):
    rng = np.random.default_rng((o.seed, number))
    key = jax.random.fold_in(jax.random.key(o.seed), number)
    # The last steps are filled up with pairs from the front.
    order = np.resize(rng.permutation(len(closure.pairs)), calls * each)
    burning = number < o.burn_in
    rate = jnp.float32(learning_rate(o, number))
    step = _steps(o, alike=not (burning and o.burn_in_power))
    losses = []
    for call, numbers in enumerate(np.split(order, calls)):
      pairs = closure.pairs[numbers].reshape(-1, o.batch_size, 2)
      own = jax.random.fold_in(key, call)
      table, loss = step(table, jnp.asarray(pairs), own, rate, above, often)
      losses.append(loss)
    yield Epoch(number + 1, table, float(np.mean(jax.device_get(losses))))


def learning_rate(o: Options, epoch: int) -> float:
  """Computes the rate of an epoch: burn-in, geometric ramp, full rate.

  Args:
    o: options of the embedding.
    epoch: epochs before it.

  Examples:
    >>> o = Options(learning_rate=1.0, burn_in=1, burn_in_rate=0.01, ramp=2)
    >>> [round(learning_rate(o, epoch), 2) for epoch in range(4)]
    [0.01, 0.1, 1.0, 1.0]
  """
  if epoch < o.burn_in:
    return o.learning_rate * o.burn_in_rate
  left = max(o.burn_in + o.ramp - 1 - epoch, 0)
  return o.learning_rate * o.burn_in_rate ** (left / max(o.ramp, 1))


@functools.cache
def _steps(o: Options, alike: bool) -> Callable[..., tuple[Table, Array]]:
  """Makes the function of some steps, which is compiled once.

  Args:
    o: options of the embedding.
    alike: whether all nodes are drawn as negatives equally often.

  Returns:
    (table, pairs (steps, batch, 2), key, rate, nodes above each, cumulative
    shares of nodes) -> table, mean loss of a pair. It donates the table.
  """
  e = energy(o)

  def steps(table, pairs, key, rate, above, often):
    shape = (*pairs.shape[:2], o.negatives)
    if alike:
      others = jax.random.randint(key, shape, 0, len(table))
    else:
      others = jnp.searchsorted(often, jax.random.uniform(key, shape))

    def step(table, batch):
      pairs, others = batch
      mask = _unrelated(pairs[:, 0], others, above)
      ids = jnp.concatenate([pairs, others], axis=1)
      loss, grads = jax.value_and_grad(_loss)(table[ids], mask, e)
      table = riemannian.sgd_rows(
        table, ids, grads, rate, e.manifold, o.longest
      )
      return table, loss

    table, losses = jax.lax.scan(step, table, (pairs, others))
    return table, losses.mean() / pairs.shape[1]

  return jax.jit(steps, donate_argnums=0)


def _loss(rows, mask, e: Energy):
  """Sums the losses of pairs: rows (batch, 2 + negatives, dim)."""
  energies = e.scores(rows[:, :1], rows[:, 1:])
  return jnp.sum(jax.vmap(e.loss)(energies, mask))


def _unrelated(
  nodes: Int[Array, "batch"],
  others: Int[Array, "batch negatives"],
  above: Int[Array, "total most"],
) -> Bool[Array, "batch negatives"]:
  """Marks the negatives that are neither the node nor above it."""
  related = jnp.any(others[..., None] == above[nodes][:, None], axis=-1)
  return ~(related | (others == nodes[:, None]))
