"""How near a node is to one above it, and the losses that are made of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import lorentz, manifolds, poincare
from hyperclip_jax.geometry.manifolds import Manifold
from hyperclip_jax.trees.options import Options

# Ball coordinates keep this far from the boundary (Nickel and Kiela, 2017).
BALL_EPS = 1e-5


class Retraction(NamedTuple):
  """The Poincare ball with straight steps that end inside of it.

  The published steps of Poincare embeddings, which to first order are those
  along geodesics; otherwise as `manifolds.Poincare`.
  """

  curv: Any

  def gradient(self, x, g):
    """Computes g / lambda^2."""
    return poincare.gradient(x, g, self.curv)

  def squared_length(self, x, v):
    """Computes lambda^2 |v|^2."""
    return poincare.inner(x, v, v, self.curv)

  def expmap(self, x, v):
    """Adds v, and projects into the ball."""
    return poincare.project(x + v, self.curv, BALL_EPS)

  def ptransp(self, x, y, v):
    """Carries tangent vectors from x to y."""
    return poincare.ptransp(x, y, v, self.curv)


class Energy(NamedTuple):
  """How a table is read, moved and measured.

  Attributes:
    manifold: manifold of the rows.
    scores: (nodes, those above), rows that broadcast -> energies, small where
      the second is above the first.
    loss: (energies (1 + negatives,) of the true node and of others, mask
      (negatives,) of the others that count) -> loss.
    lorentz: rows -> points of the Lorentz model, by their space components.
  """

  manifold: Manifold
  scores: Callable[[Array, Array], Array]
  loss: Callable[[Array, Array], Array]
  lorentz: Callable[[Array], Array]


def energy(o: Options) -> Energy:
  """Makes the energy of the options.

  Args:
    o: options of the embedding.

  Returns:
    Energy.
  """
  ball = o.model == "poincare"

  def points(x):
    return poincare.to_lorentz(x, o.curv) if ball else x

  def distance(node, above):
    dist = poincare.dist if ball else lorentz.dist
    return dist(node, above, o.curv)

  def outside(node, above):
    node, above = points(node), points(above)
    angle = lorentz.exterior_angle(above, node, o.curv)
    return angle - lorentz.half_aperture(above, o.curv, o.min_radius)

  manifold = Retraction(o.curv) if ball else manifolds.Lorentz(o.curv)
  if o.loss == "distance":
    return Energy(manifold, distance, nearest, points)
  return Energy(manifold, outside, lambda e, m: inside(e, m, o.margin), points)


def nearest(
  energies: Float[Array, "rows"], mask: Bool[Array, "others"]
) -> Float[Array, ""]:
  """Computes the cross entropy of minus energies, the first being the true one.

  Args:
    energies: energies of the true node, and of others.
    mask: others that count.

  Returns:
    Loss.
  """
  logits = -energies
  others = jnp.where(mask, logits[1:], -jnp.inf)
  return jax.nn.logsumexp(jnp.append(others, logits[0])) - logits[0]


def inside(
  energies: Float[Array, "rows"], mask: Bool[Array, "others"], margin: float
) -> Float[Array, ""]:
  """Computes the loss of entailment cones (Ganea et al., 2018).

  Args:
    energies: angles outside of the cones of the true node, and of others;
      negative inside.
    mask: others that count.
    margin: angle from which the others have no loss.

  Returns:
    Loss.
  """
  outside = jax.nn.relu(energies)
  others = jax.nn.relu(margin - outside[1:])
  return outside[0] + jnp.sum(jnp.where(mask, others, 0))
