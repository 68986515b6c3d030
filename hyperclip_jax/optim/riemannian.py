"""Riemannian SGD and Adam, as optax transformations.

Labels say which leaves of the parameters hold points: a tree of the same
structure with a `geometry.manifolds` value at each such leaf and None at the
others, or a function that makes it of the parameters, so that a curvature may
be one of them. The last axis of a leaf of points has the coordinates of one. A
step is taken on the manifolds as they are before it; where a curvature is
trained, the coordinates of the points stay as it moves.

Leaves without a manifold are updated as by `optax.sgd` and `optax.adam`, bit
for bit.

References:
  Bonnabel, Stochastic Gradient Descent on Riemannian Manifolds, 2013.
  Becigneul and Ganea, Riemannian Adaptive Optimization Methods, ICLR 2019.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from hyperclip_jax.geometry.manifolds import Manifold

Labels = PyTree | Callable[[PyTree], PyTree]
Rate = float | Float[Array, ""] | optax.Schedule


class SgdState(NamedTuple):
  """State of `riemannian_sgd`.

  Attributes:
    count: number of steps taken.
    momentum: tree of tangent vectors at the points; None without momentum.
  """

  count: Int[Array, ""]
  momentum: PyTree


class AdamState(NamedTuple):
  """State of `riemannian_adam`.

  Attributes:
    count: number of steps taken.
    mu: tree of first moments, tangent vectors at the points.
    nu: tree of second moments, of which a point has one.
    largest: tree of the largest second moments; None without AMSGrad.
  """

  count: Int[Array, ""]
  mu: PyTree
  nu: PyTree
  largest: PyTree


def riemannian_sgd(
  learning_rate: Rate,
  labels: Labels,
  momentum: float | None = None,
  dampening: float = 0.0,
  nesterov: bool = False,
  weight_decay: float = 0.0,
) -> optax.GradientTransformation:
  """Makes SGD whose points move along geodesics (Bonnabel, 2013).

  With the Riemannian gradient r, m = r in the first step and m = momentum m +
  (1 - dampening) r in those after it; x' = exp_x(-rate m), or with Nesterov's
  momentum exp_x(-rate (r + momentum m)). The momentum is carried along to x'
  by parallel transport.

  Args:
    learning_rate: rate, or step -> rate.
    labels: manifolds of the leaves, or params -> manifolds.
    momentum: factor of the momentum; None for none.
    dampening: share of a gradient that its momentum leaves out.
    nesterov: whether to use Nesterov's momentum.
    weight_decay: multiple of a leaf without manifold that is added to its
      gradient; points do not decay.

  Returns:
    Gradient transformation whose `update` needs `params`.

  Examples:
    >>> from hyperclip_jax.geometry import manifolds
    >>> params = {"point": jnp.zeros((1, 2)), "kernel": jnp.ones(2)}
    >>> labels = {"point": manifolds.Lorentz(1.0), "kernel": None}
    >>> optimizer = riemannian_sgd(0.1, labels, momentum=0.9)
    >>> grads = {"point": jnp.array([[-10.0, 0.0]]), "kernel": jnp.ones(2)}
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(grads, state, params)
    >>> optax.apply_updates(params, updates)["point"]  # sinh(1)
    Array([[1.1752..., 0.       ]], dtype=float32)
  """

  def init(params):
    trace = None if momentum is None else optax.tree.zeros_like(params)
    return SgdState(jnp.zeros([], jnp.int32), trace)

  def update(updates, state, params=None):
    rate = _rate(learning_rate, state.count)
    first = state.count == 0

    def move(g, x, manifold, m=None):
      r = _gradient(g, x, manifold, weight_decay)
      if momentum is None or m is None:
        return _step(x, -rate * r, manifold), None
      new = (r if dampening == 0 else (1 - dampening) * r) + momentum * m
      if dampening:
        new = jnp.where(first, r, new)
      direction = r + momentum * new if nesterov else new
      delta = _step(x, -rate * direction, manifold)
      return delta, _carried(x, delta, new, manifold)

    trees = () if momentum is None else (state.momentum,)
    updates, trace = _over_leaves(move, 2, updates, params, labels, *trees)
    trace = None if momentum is None else trace
    return updates, SgdState(state.count + 1, trace)

  return optax.GradientTransformation(init, update)


def riemannian_adam(
  learning_rate: Rate,
  labels: Labels,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  amsgrad: bool = False,
  weight_decay: float = 0.0,
) -> optax.GradientTransformation:
  """Makes Adam whose points move along geodesics.

  A point has one second moment, of the Riemannian length of its gradients; its
  first moment is carried along by parallel transport (Becigneul and Ganea,
  2019). AMSGrad takes the largest second moment before the correction of its
  bias, as PyTorch does and `optax.amsgrad` does not.

  Args:
    learning_rate: rate, or step -> rate.
    labels: manifolds of the leaves, or params -> manifolds.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: term added to the square root of the second moment.
    amsgrad: whether second moments never fall.
    weight_decay: multiple of a leaf without manifold that is added to its
      gradient; points do not decay.

  Returns:
    Gradient transformation whose `update` needs `params`.

  Examples:
    >>> from hyperclip_jax.geometry import manifolds
    >>> x = jnp.zeros((1, 2))
    >>> optimizer = riemannian_adam(1.0, manifolds.Lorentz(1.0))
    >>> state = optimizer.init(x)
    >>> grads = jnp.array([[-3.0, 0.0]])
    >>> updates, state = optimizer.update(grads, state, x)
    >>> (x + updates).round(4)  # sinh(1): one unit of distance
    Array([[1.1752, 0.    ]], dtype=float32)
  """

  def init(params):
    def second(x, manifold):
      return jnp.zeros_like(x if manifold is None else x[..., 0])

    nu = jax.tree.map(second, params, _labels(labels, params))
    mu = optax.tree.zeros_like(params)
    return AdamState(jnp.zeros([], jnp.int32), mu, nu, nu if amsgrad else None)

  def update(updates, state, params=None):
    rate = _rate(learning_rate, state.count)
    count = state.count + 1

    def move(g, x, manifold, mu, nu, largest=None):
      r = _gradient(g, x, manifold, weight_decay)
      mu = optax.tree.update_moment(r, mu, b1, 1)
      if manifold is None:
        nu = optax.tree.update_moment_per_elem_norm(r, nu, b2, 2)
      else:
        length2 = manifold.squared_length(x, r)
        nu = optax.tree.update_moment(length2, nu, b2, 1)
      top = nu if largest is None else jnp.maximum(largest, nu)
      mu_hat = optax.tree.bias_correction(mu, b1, count)
      size = jnp.sqrt(optax.tree.bias_correction(top, b2, count)) + eps
      direction = mu_hat / (size if manifold is None else size[..., None])
      delta = _step(x, -rate * direction, manifold)
      return delta, _carried(x, delta, mu, manifold), nu, top

    trees = (state.mu, state.nu, *((state.largest,) if amsgrad else ()))
    updates, mu, nu, largest = _over_leaves(
      move, 4, updates, params, labels, *trees
    )
    return updates, AdamState(count, mu, nu, largest if amsgrad else None)

  return optax.GradientTransformation(init, update)


def sgd_rows(
  table: Float[Array, "rows dim"],
  ids: Int[Array, "*batch"],
  grads: Float[Array, "*batch dim"],
  learning_rate: float | Float[Array, ""],
  manifold: Manifold,
  longest: float = float("inf"),
) -> Float[Array, "rows dim"]:
  """Moves the rows of a table that a batch has looked up, and no others.

  A step of `riemannian_sgd` without momentum, whose cost does not grow with the
  table. The gradients of a row that occurs more than once add up.

  Args:
    table: points.
    ids: rows that were looked up.
    grads: derivatives by the rows as looked up, one for each id.
    learning_rate: rate.
    manifold: manifold of the table.
    longest: distance that a row moves at most.

  Returns:
    Table with the rows moved.

  Examples:
    >>> from hyperclip_jax.geometry import manifolds
    >>> table = jnp.zeros((3, 1))
    >>> ids, grads = jnp.array([2, 0, 2]), jnp.array([[1.0], [0.0], [1.0]])
    >>> sgd_rows(table, ids, grads, 0.5, manifolds.Lorentz(1.0))  # -sinh(1)
    Array([[ 0.       ],
           [ 0.       ],
           [-1.1752...]], dtype=float32)
  """
  rows, dim = table.shape
  ids, grads = ids.reshape(-1), grads.reshape(-1, dim)
  # Each row once; the places that are left over point behind the table.
  own, place = jnp.unique(
    ids, return_inverse=True, size=len(ids), fill_value=rows
  )
  total = jnp.zeros_like(grads).at[place].add(grads)
  x = table.at[own].get(mode="fill", fill_value=0)
  v = -learning_rate * manifold.gradient(x, total)
  length = jnp.sqrt(manifold.squared_length(x, v))
  short = jnp.minimum(1, longest / jnp.maximum(length, 1e-30))
  moved = manifold.expmap(x, short[:, None] * v)
  return table.at[own].set(moved, mode="drop")


def _labels(labels: Labels, params: PyTree) -> PyTree:
  return labels(params) if callable(labels) else labels


def _rate(learning_rate: Rate, count: Int[Array, ""]) -> Any:
  return learning_rate(count) if callable(learning_rate) else learning_rate


def _gradient(g, x, manifold, weight_decay):
  """Returns the gradient that a step takes; a tangent vector at a point."""
  if manifold is not None:
    return manifold.gradient(x, g)
  return g + weight_decay * x if weight_decay else g


def _step(x, v, manifold):
  """Returns the change of coordinates that a step along v makes."""
  return v if manifold is None else manifold.expmap(x, v) - x


def _carried(x, delta, v, manifold):
  return v if manifold is None else manifold.ptransp(x, x + delta, v)


def _over_leaves(move, outputs, grads, params, labels, *trees):
  """Applies `move` to each leaf, and returns its outputs as trees."""
  if params is None:
    raise ValueError("a Riemannian step takes the params: update(..., params)")
  leaves, structure = jax.tree.flatten(params)
  manifolds = structure.flatten_up_to(_labels(labels, params))
  rest = [structure.flatten_up_to(tree) for tree in (grads, *trees)]
  moved = [
    move(g, x, manifold, *others)
    for g, x, manifold, *others in zip(
      rest[0], leaves, manifolds, *rest[1:], strict=True
    )
  ]
  columns = zip(*moved, strict=True) if moved else ((),) * outputs
  return tuple(structure.unflatten(column) for column in columns)
