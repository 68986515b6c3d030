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
from jaxtyping import Array, Float, Int, Integer, PyTree

from hyperclip_jax.geometry.manifolds import Flat, Manifold

Labels = PyTree | Callable[[PyTree], PyTree]
Rate = float | Float[Array, ""] | optax.Schedule


class RiemannianState(NamedTuple):
  """State of `riemannian_sgd` and `riemannian_adam`.

  Attributes:
    count: number of steps taken.
    flat: state of optax for the leaves without a manifold.
    moments: for each other leaf its momentum, or first and second moments.
  """

  count: Int[Array, ""]
  flat: Any
  moments: Any


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

  def start(x, manifold):
    return () if momentum is None else (jnp.zeros_like(x),)

  def direction(r, x, manifold, moments, count):
    if momentum is None:
      return r, ()
    (old,) = moments
    new = (1 - dampening) * r + momentum * old
    new = jnp.where(count == 1, r, new)
    return r + momentum * new if nesterov else new, (new,)

  # Optax has no dampening: then a flat leaf is a point of a flat space.
  flat = None if dampening else optax.sgd(learning_rate, momentum, nesterov)
  return _transformation(
    learning_rate, labels, weight_decay, flat, start, direction
  )


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

  def start(x, manifold):
    nu = jnp.zeros_like(manifold.squared_length(x, x))
    return jnp.zeros_like(x), nu, *((nu,) if amsgrad else ())

  def direction(r, x, manifold, moments, count):
    mu, nu, *largest = moments
    mu = optax.tree.update_moment(r, mu, b1, 1)
    length2 = manifold.squared_length(x, r)
    nu = optax.tree.update_moment(length2, nu, b2, 1)
    largest = [jnp.maximum(old, nu) for old in largest]
    top = largest[0] if largest else nu
    size = jnp.sqrt(optax.tree.bias_correction(top, b2, count)) + eps
    size = size if size.ndim == x.ndim else size[..., None]
    mu_hat = optax.tree.bias_correction(mu, b1, count)
    return mu_hat / size, (mu, nu, *largest)

  # Optax's AMSGrad is another: then a flat leaf is a point of a flat space.
  flat = None if amsgrad else optax.adam(learning_rate, b1, b2, eps)
  return _transformation(
    learning_rate, labels, weight_decay, flat, start, direction
  )


def sgd_rows(
  table: Float[Array, "rows dim"],
  ids: Integer[Array, "*batch"],
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
  if not ids.size:
    return table
  # Narrow numbers have no room for those of `_sorted`.
  ids = ids.reshape(-1).astype(int)
  ids = jnp.where(ids < 0, ids + rows, ids)  # as NumPy counts them
  grads = grads.reshape(-1, dim)
  # Each row once; the places that are left over point behind the table.
  ids, order = _sorted(ids, rows)
  place = jnp.cumsum(jnp.append(0, (ids[1:] != ids[:-1]).astype(jnp.int32)))
  own = jnp.full_like(ids, rows).at[place].set(ids)
  total = jnp.zeros_like(grads).at[place].add(grads[order])
  x = table.at[own].get(mode="fill", fill_value=0)
  v = -learning_rate * manifold.gradient(x, total)
  length = jnp.sqrt(manifold.squared_length(x, v))
  short = jnp.minimum(1, longest / jnp.maximum(length, 1e-30))
  short = short if short.ndim == v.ndim else short[:, None]
  moved = manifold.expmap(x, short * v)
  return table.at[own].set(moved, mode="drop")


def _sorted(ids, rows):
  """Sorts numbers of rows, and returns their old places."""
  count = len(ids)
  if rows * count >= 2**31:
    order = jnp.argsort(ids)
    return ids[order], order
  # One number for a row and its place: XLA sorts pairs slowly on CPUs.
  both = jnp.sort(ids * count + jnp.arange(count, dtype=ids.dtype))
  return both // count, both % count


def _transformation(
  learning_rate: Rate,
  labels: Labels,
  weight_decay: float,
  flat: optax.GradientTransformation | None,
  start: Callable[..., tuple],
  direction: Callable[..., tuple],
) -> optax.GradientTransformation:
  """Moves points by `direction`, and the other leaves by `flat`.

  Args:
    learning_rate: rate, or step -> rate.
    labels: manifolds of the leaves, or params -> manifolds.
    weight_decay: decay of the leaves without manifold.
    flat: optimiser of those leaves; None to move them by `direction` too.
    start: (points, manifold) -> moments.
    direction: (gradient, points, manifold, moments, number of this step) ->
      tangent vectors that are gone against, and moments, of which the first is
      a tangent vector.

  Returns:
    Gradient transformation.
  """

  def manifolds(params):
    leaves, structure = jax.tree.flatten(params)
    tree = labels(params) if callable(labels) else labels
    found = structure.flatten_up_to(tree)
    kinds = [Flat() if flat is None and m is None else m for m in found]
    decays = [m is None for m in found]
    return leaves, structure, kinds, decays

  def init(params):
    leaves, _, kinds, _ = manifolds(params)
    plain = [x for x, m in zip(leaves, kinds, strict=True) if m is None]
    own = [(x, m) for x, m in zip(leaves, kinds, strict=True) if m is not None]
    return RiemannianState(
      jnp.zeros([], jnp.int32),
      flat.init(plain) if flat else (),
      [start(x, m) for x, m in own],
    )

  def update(updates, state, params=None):
    if params is None:
      raise ValueError(
        "a Riemannian step takes the parameters: update(grads, state, params)"
      )
    leaves, structure, kinds, decays = manifolds(params)
    grads = [
      g + weight_decay * x if weight_decay and decay else g
      for g, x, decay in zip(
        structure.flatten_up_to(updates), leaves, decays, strict=True
      )
    ]
    rows = list(zip(grads, leaves, kinds, strict=True))
    plain = [(g, x) for g, x, m in rows if m is None]
    moved: Any = []
    flat_state: Any = ()
    if flat:
      moved, flat_state = flat.update(
        [g for g, _ in plain], state.flat, [x for _, x in plain]
      )
    rate: Any = learning_rate
    if callable(learning_rate):
      rate = learning_rate(state.count)
    count, old, moments = state.count + 1, iter(state.moments), []
    moved, deltas = iter(moved), []
    for g, x, manifold in rows:
      if manifold is None:
        deltas.append(next(moved))
        continue
      r = manifold.gradient(x, g)
      ahead, new = direction(r, x, manifold, next(old), count)
      y = manifold.expmap(x, -rate * ahead)
      deltas.append(y - x)
      carried = tuple(manifold.ptransp(x, y, m) for m in new[:1])
      moments.append((*carried, *new[1:]))
    return structure.unflatten(deltas), RiemannianState(
      count, flat_state, moments
    )

  return optax.GradientTransformation(init, update)
