"""The sigmoid loss of pairs over a global batch (SigLIP, Zhai et al., 2023)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.geometry.spaces import Space

# (space, scale, bias, x, y) -> loss.
Pairs = Callable[..., Float[Array, ""]]


def pairs(
  space: Space,
  scale: Scalar,
  bias: Scalar,
  x: Float[Array, "b dim"],
  y: Float[Array, "b dim"],
) -> Float[Array, ""]:
  """Computes the binary cross entropy of all pairs, as a sum a row.

  The logit of a pair is its scaled nearness and the bias; pairs of one row
  match, all others do not. In the space of Gaussians this is ProLIP's PPCL; as
  its variances go to 0, it becomes SigLIP's loss. Several matrices of b^2
  logits stay in memory until the backward pass.

  Args:
    space: space of the points.
    scale: factor of nearness.
    bias: what is added to every logit.
    x: points; x[i] matches y[i] alone.
    y: points.

  Returns:
    Loss in nats: the sum over all pairs, divided by b (not by b^2).

  Examples:
    >>> space = spaces.Sphere()
    >>> x = space.lift(jnp.eye(4))
    >>> bool(pairs(space, 100.0, -50.0, x, x) < 1e-6)
    True
  """
  logits = space.logits(x, y, scale) + bias
  matching = scale * space.pairs(x, y) + bias
  same = jnp.eye(len(x), dtype=bool)
  others = jnp.where(same, 0, jax.nn.softplus(logits)).sum(axis=1)
  return jnp.mean(others + jax.nn.softplus(-matching))
