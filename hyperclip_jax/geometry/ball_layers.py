"""Means of points of the Poincare ball, and what layers compute of them.

`geometry.poincare` has these functions, too.
"""

from jaxtyping import Float

from hyperclip_jax.geometry import hyperplanes, lorentz, means
from hyperclip_jax.geometry.ball import from_lorentz, to_lorentz
from hyperclip_jax.geometry.numerics import Array, Scalar


def midpoint(
  p: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Computes gyromidpoints, the Lorentz centroids of `lorentz.centroid`.

  Args:
    p: points of the ball; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Points of the ball.

  Examples:
    >>> midpoint(jnp.array([[0.8, 0.0], [0.0, 0.0]]), 1.0).round(4)
    Array([0.5, 0. ], dtype=float32)
  """
  return from_lorentz(
    lorentz.centroid(to_lorentz(p, curv), curv, weights), curv
  )


def frechet_mean(
  p: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Finds the points of the least squared distances; see `means.frechet_mean`.

  Args:
    p: points of the ball; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Points of the ball.

  Examples:
    >>> frechet_mean(jnp.array([[0.8, 0.0], [0.0, 0.0]]), 1.0).round(4)
    Array([0.5, 0. ], dtype=float32)
  """
  x = to_lorentz(p, curv)
  return from_lorentz(means.frechet_mean(x, curv, weights), curv)


def frechet_variance(
  p: Float[Array, "*batch n dim"],
  mean: Float[Array, "*batch dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch"]:
  """Computes means of squared distances to a point; see `means.variance`.

  Args:
    p: points of the ball; the mean is over axis -2.
    mean: points of the ball.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Variances.

  Examples:
    >>> p = jnp.array([[0.8, 0.0], [0.0, 0.0]])
    >>> frechet_variance(p, jnp.zeros(2), 1.0).round(4)  # log(9)^2 / 2
    Array(2.4139, dtype=float32)
  """
  x, mu = to_lorentz(p, curv), to_lorentz(mean, curv)
  return means.variance(x, mu, curv, weights)


def hyperplane_dists(
  p: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Computes multinomial logistic regressions; see `hyperplanes.logits`.

  Args:
    p: points of the ball.
    z: normals, one a column.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Logits, 2 |z| times signed distances.

  Examples:
    >>> p = jnp.array([[jnp.tanh(0.5), 0.0]])  # at distance 1
    >>> hyperplane_dists(p, jnp.eye(2), None, 1.0).round(4)
    Array([[2., 0.]], dtype=float32)
  """
  return hyperplanes.logits(to_lorentz(p, curv), z, r, curv)


def fully_connected(
  p: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Maps points to points; see `hyperplanes.fully_connected`.

  Args:
    p: points of the ball.
    z: normals, one a column.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Points of the ball.

  Examples:
    >>> p = jnp.array([0.6, 0.0])
    >>> f"{fully_connected(p, jnp.eye(2) / 2, None, 1.0)[0]:.4f}"
    '0.6000'
  """
  x = hyperplanes.fully_connected(to_lorentz(p, curv), z, r, curv)
  return from_lorentz(x, curv)
