"""Losses of ProLIP that regularise Gaussians (Chun et al., 2025).

Each counts a pair or a row of the global batch once. (The official code repeats
them at every turn of its ring of devices, mostly on pairs that do not belong
together.)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.losses import rows

# From here on, the official code replaces a term by 0.
MOST_INCLUSION, MOST_DIVERGENCE = 1e5, 1e4


def inclusion(
  general: Float[Array, "b dim"],
  specific: Float[Array, "b dim"],
  eps: Scalar,
  slope: Scalar,
  form: str = "exact",
  where: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
  """Computes the mean of softplus(-slope T) over dimensions and rows.

  T is `gaussian.inclusion`, positive where the general Gaussian includes the
  specific one. The mean is ln 2 for equal Gaussians.

  Args:
    general: rows of Gaussians, such as of captions or of masked images.
    specific: rows of Gaussians, such as of images or of whole images.
    eps: log of a factor of the squared distances of the means; at -20 and log
      variances near -10, as in pre-training, variances count alone.
    slope: factor of T, 1000 in pre-training.
    form: "exact", or "reference" as the official code has it.
    where: rows to average over; None for all. The mean of no rows is 0.

  Returns:
    Loss, a scalar.

  Examples:
    >>> wide, narrow = jnp.array([[0.0, 1.0]]), jnp.array([[0.0, -1.0]])
    >>> bool(inclusion(wide, narrow, 0.0, 10.0) < 0.01)
    True
    >>> round(float(inclusion(wide, wide, 0.0, 10.0)), 4)  # ln 2
    0.6931
  """
  general, specific = (rows.blank(x, where) for x in (general, specific))
  test = gaussian.inclusion(general, specific, eps, form)
  return rows.mean(jax.nn.softplus(-slope * test).mean(axis=1), where)


def included(
  general: Float[Array, "b dim"],
  specific: Float[Array, "b dim"],
  where: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
  """Computes the share of rows whose general Gaussian includes the specific.

  Args:
    general: rows of Gaussians, such as of masked images.
    specific: rows of Gaussians, such as of the images that they were made of.
    where: rows that count; None for all. The share of no rows is 0.

  Returns:
    Share of rows with a positive inclusion test, in its exact form; it has no
    gradient.

  Examples:
    >>> wide, narrow = jnp.array([[0.0, 1.0]]), jnp.array([[0.0, -1.0]])
    >>> float(included(wide, narrow)), float(included(narrow, wide))
    (1.0, 0.0)
  """
  general, specific = (rows.blank(x, where) for x in (general, specific))
  general, specific = jax.lax.stop_gradient((general, specific))
  test = gaussian.inclusion(general, specific)
  return rows.mean((test.sum(axis=1) > 0).astype(general.dtype), where)


def bottleneck(
  points: Float[Array, "b dim"], form: str = "exact"
) -> Float[Array, ""]:
  """Computes the mean divergence from the standard normal (VIB).

  Means of unit length add the constant 1 / (2 D) for D dimensions.

  Args:
    points: rows of Gaussians.
    form: "exact", or "reference" as the official code has it.

  Returns:
    Loss in nats, the mean over dimensions and rows.

  Examples:
    >>> float(bottleneck(jnp.array([[1.0, 0.0, 0.0, 0.0]])))  # 1 / (2 * 2)
    0.25
  """
  return gaussian.divergence(points, form).mean()


def guarded(
  loss: Float[Array, ""], most: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Replaces a loss that is too large by 0, with zero gradient; NaN passes.

  Args:
    loss: a term.
    most: largest magnitude that stays.

  Returns:
    The term or 0, and whether it was replaced, as 0.0 or 1.0.

  Examples:
    >>> [float(x) for x in guarded(jnp.float32(2e5), MOST_INCLUSION)]
    [0.0, 1.0]
  """
  large = jnp.abs(loss) > most
  return jnp.where(large, 0, loss), large.astype(loss.dtype)
