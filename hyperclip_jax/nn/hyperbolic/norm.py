"""Batch normalisation of points."""

from typing import Literal

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
    tau, root = stable.excess_time(rows, curv), 1 / jnp.sqrt(curv)
    t = tau + root
    mu = None
    if running:
      mu = old_mean.value
    elif self.mean == "frechet":
      mu = means.frechet_mean(rows, curv)
    mu, t_mu, across = _split(rows, t, mu, curv)
    tau_mu = dot(mu, mu) / (t_mu + root)
    along = (tau - tau_mu) / t_mu  # t / t_mu - 1
    # cosh(sqrt(c) d) - 1 and sinh(sqrt(c) d)^2 of the distances d from mu
    excess = (curv * dot(across, across) + along**2) * t_mu / (2 * t)
    sine2 = excess * (excess + 2)
    ratio = numerics.asinhc(sine2)  # sqrt(c) d / sinh(sqrt(c) d)
    angle2 = ratio**2 * sine2
    if running:
      var = old_var.value
    else:
      var = jnp.mean(angle2) / curv
      if not self.is_initializing():
        self._keep(old_mean, old_var, mu, var, curv)
    gain = scale / (var + self.epsilon)
    factor = ratio * numerics.sqrt(gain) * tangent.stretch(gain * angle2)
    centre = lorentz.expmap0(2 * bias, curv)
    # y = factor v + cosh(sqrt(c gain) d) b, with the tangent vector v at mu of
    # length sinh(sqrt(c) d) / sqrt(c), transported to b.
    cosh = curv * (t_mu * stable.time(centre, curv) - dot(mu, centre))
    aside = curv / (1 + cosh) * dot(across, centre[None])
    behind = (mu - cosh * centre) / (1 + cosh)
    v = across + aside[:, None] * (mu + centre)[None]
    v = factor[:, None] * (v + (along - excess)[:, None] * behind[None])
    y = v + jnp.sqrt(1 + factor**2 * sine2)[:, None] * centre[None]
    return y.reshape(x.shape)

  def _keep(self, old_mean, old_var, mu, var, curv):
    """Moves the running statistics a part of the way to the batch's."""
    part, old = 1 - self.momentum, old_mean.value
    # As `lorentz.centroid` of two points.
    scale2 = 1 + 2 * part * (1 - part) * stable.excess(old, mu, curv)
    old_mean.value = (old + part * (mu - old)) / jnp.sqrt(scale2)
    old_var.value = old_var.value + part * (var - old_var.value)


def _split(rows, t, mu, curv):
  """Splits rows into (t / t_mu) mu and a vector across, which has no time.

  Args:
    rows: points.
    t: their times.
    mu: a point; None for the centroid, the mean in Minkowski space scaled back
      to the hyperboloid: t_mu^2 = mean(t) / mean((1 + c |across|^2) / t).
    curv: c, where the curvature is -c.

  Returns:
    The point mu, its time and the vectors.
  """
  if mu is not None:
    t_mu = stable.time(mu, curv)
    return mu, t_mu, rows - t[:, None] * (mu / t_mu)[None]
  mean_t = jnp.mean(t)
  slope = jnp.mean(rows, axis=0) / mean_t
  across = rows - t[:, None] * slope[None]
  t_mu = jnp.sqrt(mean_t / jnp.mean((1 + curv * dot(across, across)) / t))
  return t_mu * slope, t_mu, across
