"""Batch normalisation of points."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hyperclip_jax.geometry import elementary, lorentz, means, numerics, stable
from hyperclip_jax.geometry.numerics import Scalar, dot
from hyperclip_jax.nn.hyperbolic import tangent
from hyperclip_jax.nn.hyperbolic.linear import wide


class BatchNorm(nn.Module):
  """Moves the mean of a batch to a trained point, and scales its spread.

  With the mean mu of all points of the batch and their mean squared distance V
  from it, x becomes exp_b(sqrt(scale / (V + epsilon)) P log_mu(x)): the vector
  from mu to x, transported to b by gyr[b, -mu]. Unlike HypLL's layer and
  Poincare ResNet's it keeps running statistics. Under `jit` the mean is that of
  the batch on all devices. A scale below 0 acts as 0.

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
    if self.mean == "midpoint" and not running:
      mu, along, rest, excess = lorentz.split_at_centroid(rows, curv)
    else:
      mu = old_mean.value if running else means.frechet_mean(rows, curv)
      along, rest, excess = stable.split(rows, mu[None], curv)
    ratio, angle2 = elementary.angle_over_sinh(excess)
    if running:
      var = old_var.value
    else:
      var = jnp.mean(angle2) / curv
      if not self.is_initializing():
        self._keep(old_mean, old_var, mu, var, curv)
    gain = jnp.maximum(scale, 0) / (var + self.epsilon)
    angle2 = gain * angle2
    stretch = tangent.stretch(angle2)  # sinh(a) / a of the new angle a
    centre = lorentz.expmap0(2 * bias, curv)
    # The tangent vectors at mu, of length sinh(sqrt(c) d) / sqrt(c), that point
    # to the rows, transported to the centre.
    along_b, rest_b, excess_b = stable.split(centre, mu, curv)
    aside = curv / (2 + excess_b) * dot(rest, rest_b[None])
    behind = (2 + along_b) * mu + (along_b - excess_b) * centre
    v = rest + aside[:, None] * (mu + centre)[None]
    v = v + (along - excess)[:, None] * (behind / (2 + excess_b))[None]
    factor = ratio * numerics.sqrt(gain) * stretch
    cosh = jnp.sqrt(1 + stretch**2 * angle2)
    y = factor[:, None] * v + cosh[:, None] * centre[None]
    return y.reshape(x.shape)

  def _keep(self, old_mean, old_var, mu, var, curv):
    """Updates the running statistics; the mean is the centroid of both."""
    old, new = self.momentum, 1 - self.momentum
    _, _, excess = stable.split(mu, old_mean.value, curv)
    mixed = old * old_mean.value + new * mu
    old_mean.value = mixed / jnp.sqrt(1 + 2 * old * new * excess)
    old_var.value = self.momentum * old_var.value + (1 - self.momentum) * var
