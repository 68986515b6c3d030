"""Parameters that are points, and the labels an optimiser needs of them."""

import contextvars
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, PyTree

from hyperclip_jax.geometry import manifolds
from hyperclip_jax.geometry.numerics import Scalar

# Paths of the points of the module that `labels` looks at.
_PATHS: contextvars.ContextVar[set[tuple[str, ...]] | None] = (
  contextvars.ContextVar("paths of points", default=None)
)


def point_param(
  module: nn.Module, name: str, init: Callable[..., Array], *args: Any
) -> Array:
  """Makes a parameter of rows of points, which `labels` finds.

  Like `module.param`, inside of a compact method or `setup`. The parameter is a
  plain array.

  Args:
    module: module that the parameter belongs to.
    name: name of the parameter.
    init: initialiser: key, *args -> space components of points.
    args: arguments of the initialiser, such as a shape.

  Returns:
    Points, by their space components along the last axis.

  Examples:
    >>> class Centre(nn.Module):
    ...   @nn.compact
    ...   def __call__(self):
    ...     return point_param(self, "centre", nn.initializers.zeros, (3,))
    >>> labels(Centre(), 0.5)
    {'centre': Lorentz(curv=0.5)}
  """
  paths = _PATHS.get()
  if paths is not None:
    paths.add((*module.path, name))
  return module.param(name, init, *args)


def labels(
  module: nn.Module,
  curv: Scalar | Callable[[PyTree], Scalar],
  *inputs: Any,
  **options: Any,
) -> Any:
  """Labels the parameters of a module for `optim.riemannian`.

  Nothing is computed: the module's `init` is traced.

  Args:
    module: module, of which `point_param` makes some parameters.
    curv: curvature of the points, or params -> curvature where it is trained.
    inputs: arguments of the module, as for its `init`; of arrays the shapes
      suffice.
    options: its keyword arguments, such as `train=True`.

  Returns:
    Tree like the parameters, with `manifolds.Lorentz(curv)` where points are
    and None elsewhere; if `curv` is a function, a function of the parameters
    that returns such a tree.

  Examples:
    >>> from hyperclip_jax.nn import hyperbolic
    >>> table = hyperbolic.Embedding(num_embeddings=10, features=2)
    >>> labels(table, 1.0, jnp.zeros(1, int), 1.0)
    {'embedding': Lorentz(curv=1.0)}
  """

  def init():
    args, kwargs = jax.tree.map(_zeros, (inputs, options))
    return module.init(jax.random.key(0), *args, **kwargs)

  token = _PATHS.set(set())
  try:
    variables = jax.eval_shape(init)
    paths = _PATHS.get() or set()
  finally:
    _PATHS.reset(token)

  def marked(path, _):
    return tuple(key.key for key in path) in paths

  points = jax.tree_util.tree_map_with_path(marked, variables.get("params", {}))

  def label(curv):
    return jax.tree.map(
      lambda point: manifolds.Lorentz(curv) if point else None, points
    )

  if callable(curv):
    return lambda params: label(curv(params))
  return label(curv)


def _zeros(leaf):
  """Puts an array in the place of a shape."""
  shape = isinstance(leaf, jax.ShapeDtypeStruct)
  return jnp.zeros(leaf.shape, leaf.dtype) if shape else leaf
