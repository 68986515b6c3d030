"""Batch normalisation of points."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hyperclip_jax.geometry import lorentz, means, numerics, stable
from hyperclip_jax.geometry.numerics import Scalar, dot
from hyperclip_jax.nn.hyperbolic import tangent
from hyperclip_jax.nn.hyperbolic.linear import wide


class BatchNorm(nn.Module):
  """Moves the mean of a batch to a trained point, and scales its spread.

  With the mean mu of all points of the batch and their mean squared distance V
  from it, x becomes exp_b(sqrt(scale / (V + epsilon)) P log_mu(x)): the vector
  from mu to x, transported to b by gyr[b, -mu]. Unlike HypLL's layer and
  Poincare ResNet's it keeps running statistics. Under `jit` the mean is that of
  the batch on all devices.

  Attributes:
    use_running_average: whether to use the running statistics; here or when
      called.
    momentum: weight of the old running statistics in an update.
    epsilon: number added to V.
    mean: "midpoint", the centroid, or "frechet", for which the mean of the
      result is b exactly, at the price of an iteration.

  Examples:
    >>> layer, x = BatchNorm(use_running_average=False), jnp.ones((5, 2))
    >>> variables = layer.init(jax.random.key(0), x, 1.0)
    >>> y, _ = layer.apply(variables, x, 1.0, mutable=["batch_stats"])
    >>> y.shape
    (5, 2)
  """

  use_running_average: bool | None = None
  momentum: float = 0.9
  epsilon: float = 1e-6
  mean: Literal["midpoint", "frechet"] = "midpoint"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "*batch dim"],
    curv: Scalar,
    use_running_average: bool | None = None,
  ) -> Float[Array, "*batch dim"]:
    running = nn.merge_param(
      "use_running_average", self.use_running_average, use_running_average
    )
    x, dim = wide(x), x.shape[-1]
    bias = self.param("bias", nn.initializers.zeros, (dim,)).astype(x.dtype)
    scale = self.param("scale", nn.initializers.ones, ()).astype(x.dtype)
    old_mean = self.variable("batch_stats", "mean", jnp.zeros, (dim,), x.dtype)
    old_var = self.variable("batch_stats", "var", jnp.ones, (), x.dtype)

    rows = x.reshape(-1, dim)
    t = stable.time(rows, curv)
    if running:
      mu = old_mean.value
    elif self.mean == "frechet":
      mu = means.frechet_mean(rows, curv)
    else:
      mu = _centroid(rows, t, curv)
    seen = _seen(mu, rows, t, curv)
    seen2 = dot(seen, seen)
    length = numerics.asinhc(curv * seen2)  # log_0 seen / seen
    if running:
      var = old_var.value
    else:
      var = jnp.mean(length**2 * seen2)
      if not self.is_initializing():
        self._keep(old_mean, old_var, mu, var, curv)
    length = length * numerics.sqrt(scale / (var + self.epsilon))
    factor = length * tangent.stretch(curv * length**2 * seen2)
    y = _moved(seen, seen2, factor, mu, lorentz.expmap0(2 * bias, curv), curv)
    return y.reshape(x.shape)

  def _keep(self, old_mean, old_var, mu, var, curv):
    """Updates the running statistics, on the geodesic from old to new."""
    weights = jnp.asarray([self.momentum, 1 - self.momentum], mu.dtype)
    both = jnp.stack([old_mean.value, mu])
    old_mean.value = lorentz.centroid(both, curv, weights)
    old_var.value = self.momentum * old_var.value + (1 - self.momentum) * var


def _centroid(rows, t, curv):
  """Computes `lorentz.centroid` of many rows, whose times are known.

  The mean of the points in Minkowski space is scaled back to the hyperboloid.
  Its square T^2 - |S|^2 cancels, but the derivatives of that form do not. The
  value is that of (T - |S|) (T + |S|), where T - |S| is the mean of t - p, as
  positive terms; p is the part of a row along S.
  """
  mean, mean_t = jnp.mean(rows, axis=0), jnp.mean(t)
  square = mean_t**2 - dot(mean, mean)
  size = numerics.norm(mean)
  n = jnp.where(size > 0, mean / jnp.where(size > 0, size, 1), 0)
  along = rows @ n
  across = rows - along[:, None] * n[None]
  ahead = along > 0
  ahead_t = t + jnp.where(ahead, along, 0)
  gap = (1 / curv + dot(across, across)) / ahead_t
  gap = jnp.mean(jnp.where(ahead, gap, t - along))
  exact = gap * (mean_t + size)
  square = square + jax.lax.stop_gradient(exact - square)
  return mean / jnp.sqrt(curv * square)


def _seen(mu, rows, t, curv):
  """Computes -mu (+) x of each row x, as x - mu and a multiple of mu.

  `boosts.add` with fewer operations, as good where mu is not far from the root.
  """
  rc, t_mu = jnp.sqrt(curv), stable.time(mu, curv)
  s = rows - mu[None]
  mu_s = s @ mu
  dt = (dot(s, s) + 2 * mu_s) / (t + t_mu)
  weight = rc * dt - curv * mu_s / (1 + rc * t_mu)
  return s - weight[:, None] * mu[None]


def _moved(seen, seen2, factor, mu, centre, curv):
  """Computes b (+) gyr[b, -mu] w of the points w = factor * seen.

  All of it is linear in w and its time: a multiple of each row, of b and of mu.
  """
  rc = jnp.sqrt(curv)
  t_b, t_mu = stable.time(centre, curv), stable.time(mu, curv)
  b_mu = dot(centre, mu)
  along = factor[:, None] * (seen @ jnp.stack([centre, -mu], axis=1))
  bw, vw = along[:, 0], along[:, 1]
  t_w = jnp.sqrt(1 / curv + factor**2 * seen2)
  # As in `boosts.gyration`, with u = b and v = -mu.
  turn = 1 - 2 * curv * b_mu / ((1 + rc * t_b) * (1 + rc * t_mu))
  scale = curv / (1 + curv * (t_b * t_mu - b_mu))
  excess_b, excess_mu = (rc * stable.excess_time(x, curv) for x in (centre, mu))
  along_b = scale * (turn * vw - excess_mu / (1 + rc * t_b) * bw)
  along_mu = scale * (bw + excess_b / (1 + rc * t_mu) * vw)
  turned_b = bw + dot(centre, centre) * along_b + b_mu * along_mu
  lifted = along_b + rc * t_w + curv / (1 + rc * t_b) * turned_b
  return (
    factor[:, None] * seen
    + lifted[:, None] * centre[None]
    + along_mu[:, None] * mu[None]
  )
