"""Gaussians with diagonal covariances, as rows: means, then log variances.

A row of 2 D numbers is [mu | l], a mean and the logarithm of a variance for
each of D dimensions. Images and texts of ProLIP are such rows, with means of
unit length (Chun et al., Probabilistic Language-Image Pre-Training, ICLR 2025,
arXiv 2410.18857).

Functions take JAX arrays, or NumPy arrays, which stay on the host.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import ClassVar

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Array, Scalar
from hyperclip_jax.geometry.space import Paired, Rows, average, by_rows, wide

SCORES = ("csd", "cosine")


def means(rows: Float[Array, "*n dim"]) -> Float[Array, "*n half"]:
  """Returns the means of Gaussians."""
  return rows[..., : rows.shape[-1] // 2]


def log_vars(rows: Float[Array, "*n dim"]) -> Float[Array, "*n half"]:
  """Returns the logarithms of the variances of Gaussians."""
  return rows[..., rows.shape[-1] // 2 :]


def join(
  mean: Float[Array, "*n half"], log_var: Float[Array, "*n half"]
) -> Float[Array, "*n dim"]:
  """Makes rows of Gaussians.

  Args:
    mean: means.
    log_var: logarithms of the variances.

  Returns:
    Rows [mean | log_var].
  """
  xp = numerics.namespace(mean, log_var)
  return xp.concatenate([mean, log_var], axis=-1)


def uncertainty(rows: Float[Array, "*n dim"]) -> Float[Array, "*n"]:
  """Computes the trace of each covariance, u: the sum of e^l over dimensions.

  Examples:
    >>> float(uncertainty(jnp.array([1.0, 0.0, 0.0, 0.0])))
    2.0
  """
  return numerics.namespace(rows).exp(log_vars(rows)).sum(axis=-1)


def csd(
  x: Float[Array, "*#n dim"], y: Float[Array, "*#n dim"]
) -> Float[Array, "*#n"]:
  """Computes closed-form sampled distances, row by row.

  It is the expected squared distance of samples of the two Gaussians, which
  are drawn independently: |mu_x - mu_y|^2 + u_x + u_y.

  Args:
    x: rows of Gaussians.
    y: rows of Gaussians.

  Returns:
    Squared distances; that of a Gaussian and itself is 2 u.

  Examples:
    >>> x = jnp.array([1.0, 0.0, 0.0, 0.0])  # variances of 1
    >>> float(csd(x, x))
    4.0
  """
  apart = means(x) - means(y)
  return numerics.dot(apart, apart) + uncertainty(x) + uncertainty(y)


def log_included(
  x: Float[Array, "*#n dim"],
  y: Float[Array, "*#n dim"],
  eps: Scalar = 0.0,
  form: str = "exact",
) -> Float[Array, "*#n half"]:
  """Computes the log of the integral of p_x^2 p_y in each dimension.

  It is large where x lies where y is dense. It is a likelihood: for equal means
  it grows as y shrinks, so `inclusion` compares both directions.

  With s = log(e^l_x + 2 e^l_y) and the distance d of the means, the exact form
  is -log(2 pi) - l_x / 2 - s / 2 - d^2 e^-s. The form `reference` is the
  official code's, which takes log variances for log standard deviations and
  drops constants: -1.5 l_x - l_y / 2 - s / 2 + log(2) / 2 - eps / 2 - d^2
  e^(eps - s), here in a form that does not overflow.

  Args:
    x: rows of Gaussians, the included ones.
    y: rows of Gaussians.
    eps: log of a factor of d^2: 0 for the integral itself.
    form: "exact" or "reference".

  Returns:
    Logarithms in nats, one for each dimension.

  Examples:
    The integral of a standard normal density's cube is 1 / (2 pi sqrt(3)).

    >>> x = jnp.zeros(2)
    >>> round(float(jnp.exp(-log_included(x, x)[0])) / (2 * jnp.pi), 4)
    1.7321
  """
  l_x, l_y = log_vars(x), log_vars(y)
  s = _log_spread(l_x, l_y)
  distance = means(x) - means(y)
  apart = distance**2 * numerics.namespace(s).exp(eps - s)
  if form == "exact":
    return -math.log(2 * math.pi) - 0.5 * (l_x + s) - apart
  return -1.5 * l_x - 0.5 * (l_y + s + eps) + 0.5 * math.log(2) - apart


def inclusion(
  general: Float[Array, "*#n dim"],
  specific: Float[Array, "*#n dim"],
  eps: Scalar = 0.0,
  form: str = "exact",
) -> Float[Array, "*#n half"]:
  """Computes how much more `general` includes `specific` than is included.

  It is `log_included(specific, general) - log_included(general, specific)`,
  without the terms that cancel: antisymmetric, and 0 for equal Gaussians.

  Args:
    general: rows of Gaussians.
    specific: rows of Gaussians.
    eps: log of a factor of the squared distance of the means, as of
      `log_included`.
    form: "exact", or "reference" as the official code has it.

  Returns:
    Log ratios in nats, one for each dimension; positive where `general`
    includes `specific`.

  Examples:
    >>> wide, narrow = jnp.array([0.0, 1.0]), jnp.array([0.0, -1.0])
    >>> bool(inclusion(wide, narrow)[0] > 0)
    True
  """
  wide, narrow = log_vars(general), log_vars(specific)
  inside, outside = _log_spread(narrow, wide), _log_spread(wide, narrow)
  xp = numerics.namespace(inside, outside)
  apart = xp.exp(eps - inside) - xp.exp(eps - outside)
  distance = means(general) - means(specific)
  rate = 0.5 if form == "exact" else 1.0
  return rate * (wide - narrow) + 0.5 * (outside - inside) - distance**2 * apart


def _log_spread(l_x, l_y):
  """log(e^l_x + 2 e^l_y)."""
  return numerics.namespace(l_x, l_y).logaddexp(l_x, l_y + math.log(2))


def divergence(
  rows: Float[Array, "*n dim"], form: str = "exact"
) -> Float[Array, "*n half"]:
  """Computes the KL divergence from the standard normal in each dimension.

  The exact form is (mu^2 + e^l - l - 1) / 2; `reference` has l / 2 for l, as
  the official code takes log variances for log standard deviations.

  Args:
    rows: rows of Gaussians.
    form: "exact" or "reference".

  Returns:
    Divergences in nats, one for each dimension.

  Examples:
    >>> divergence(jnp.array([2.0, 0.0]))
    Array([2.], dtype=float32)
  """
  log_var = log_vars(rows) * (1.0 if form == "exact" else 0.5)
  xp = numerics.namespace(log_var)
  return 0.5 * (means(rows) ** 2 + xp.expm1(log_var) - log_var)


def merge(rows: Float[Array, "n dim"]) -> Float[Array, " dim"]:
  """Merges Gaussians into the one with the moments of their mixture.

  Its variance is the mean of the variances and the spread of the means, such as
  of several captions of one image. The mean is not scaled to unit length.

  Args:
    rows: rows of Gaussians.

  Returns:
    Row of one Gaussian.

  Examples:
    >>> rows = jnp.array([[1.0, 0.0], [-1.0, 0.0]])  # variances of 1
    >>> merged = merge(rows)
    >>> float(merged[0]), round(float(jnp.exp(merged[1])), 4)
    (0.0, 2.0)
  """
  rows = wide(rows)
  xp = numerics.namespace(rows)
  mean = means(rows).mean(axis=0)
  spread = ((means(rows) - mean[None]) ** 2).mean(axis=0)
  return join(mean, xp.log(xp.exp(log_vars(rows)).mean(axis=0) + spread))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Gaussians with means of unit length: the space of ProLIP.

  The nearness of two is 1 - CSD / 2 = mu_x mu_y - (u_x + u_y) / 2, or the
  cosine of their means.

  Attributes:
    score: "csd" or "cosine": what makes two of them near.

  Examples:
    >>> space = Gaussian()
    >>> x = space.lift(jnp.array([[3.0, 4.0, 0.0, 0.0]]))  # variances of 1
    >>> [round(float(v), 4) for v in x[0]]
    [0.6, 0.8, 0.0, 0.0]
    >>> space.pairs(x, x).round(4)
    Array([-1.], dtype=float32)
    >>> space.by("cosine").pairs(x, x).round(4)
    Array([1.], dtype=float32)
  """

  score: str = dataclasses.field(default="csd", metadata={"static": True})
  cones: ClassVar[bool] = False
  rooted: ClassVar[bool] = False
  distance_name: ClassVar[str] = "closed-form sampled distance"

  @property
  def by_products(self) -> bool:
    """True: either score is an inner product of longer rows."""
    return True

  def __post_init__(self):
    """Checks the score.

    Raises:
      ValueError: it is neither.
    """
    if self.score not in SCORES:
      raise ValueError(
        f"score must be one of {', '.join(SCORES)}, found {self.score!r}"
      )

  def by(self, score: str) -> "Gaussian":
    """Returns the space of the same Gaussians with another score.

    Args:
      score: "csd" or "cosine".
    """
    return Gaussian(score)

  def uncertainty(self, x: Rows) -> Float[Array, " n"]:
    """Computes the uncertainty u of each Gaussian, the sum of its variances."""
    return by_rows(uncertainty, x)

  def log_var(self, x: Rows) -> Float[Array, "n half"]:
    """Returns the log variances of Gaussians."""
    return log_vars(x)

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Scales means to unit length, and leaves log variances as they are."""
    return by_rows(
      lambda x: join(numerics.unit(means(x)), log_vars(x)), tangents
    )

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages unit means and variances, row by row (ProLIP's classes).

    The averaged means are scaled to unit length, and their spread does not
    count as a variance, as it does in `merge`.
    """

    found = average(_moments(self.lift(rows)) for rows in tangents)
    return self.lift(_from_moments(found))

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """1 - CSD / 2, or cosines, row by row."""
    return by_rows(self._pairs, x, y)

  def _pairs(self, x, y):
    cosines = numerics.dot(means(x), means(y))
    if self.score == "cosine":
      return cosines
    return cosines - 0.5 * (uncertainty(x) + uncertainty(y))

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """1 - CSD / 2, or cosines, of all pairs: one matrix product."""
    x, y = wide(x), wide(y)
    cosines = numerics.products(means(x), means(y))
    if self.score == "cosine":
      return cosines
    return cosines - 0.5 * (uncertainty(x)[:, None] + uncertainty(y)[None])

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """1 - CSD / 2, or cosines, of all pairs."""
    return self.pairwise(x, y)

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """Rows, minus half their uncertainties, and ones.

    Inner products with `queries`, which have zeros for the log variances, are
    the nearness of all pairs.
    """
    x = wide(x)
    half, one = self._terms(x)
    return numerics.namespace(x).concatenate([x, half, one], axis=1)

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """Means, zeros, ones, and minus half the uncertainties."""
    x = wide(x)
    xp, (half, one) = numerics.namespace(x), self._terms(x)
    rows = [means(x), xp.zeros_like(log_vars(x)), one, half]
    return xp.concatenate(rows, axis=1)

  def _terms(self, x):
    """Minus half the uncertainty of each row, and 1; zeros for cosines."""
    half = -0.5 * uncertainty(x)[:, None]
    one = 0 * half + 1
    return (0 * half, 0 * one) if self.score == "cosine" else (half, one)

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Closed-form sampled distances, or 1 - cosine, row by row."""
    if self.score == "cosine":
      return 1 - self.pairs(x, y)
    return by_rows(csd, x, y)

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """The mean direction of a set with its mean variances, for want of a root.

    ProLIP takes the empty text, or the text that includes an image the most.
    """
    moments = _moments(self.lift(wide(rows)))
    return self.lift(_from_moments(moments.mean(axis=0, keepdims=True)))[0]

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """The chord of the means, brought to the sphere; log variances in line."""
    x, y, t = (
      wide(x)[None],
      wide(y)[None],
      wide(t)[:, None],
    )
    return self.lift((1 - t) * x + t * y)

  def half_aperture(self, x: Rows) -> Float[Array, " n"]:
    """Raises TypeError."""
    raise TypeError("Gaussians have no entailment cones: see Space.cones")

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Raises TypeError."""
    return self.half_aperture(x)

  def cone_margin(
    self, general: Paired, specific: Paired, aperture_scale: Scalar = 1.0
  ) -> Float[Array, " n"]:
    """Raises TypeError."""
    return self.half_aperture(general)

  def inclusion(
    self, general: Paired, specific: Paired, form: str = "exact"
  ) -> Float[Array, " n"]:
    """Tests which Gaussians include which (ProLIP's inclusion test).

    Args:
      general: n Gaussians, or one.
      specific: n Gaussians, or one.
      form: "exact", or "reference" as the official code has it.

    Returns:
      Log ratios in nats, summed over dimensions: positive where `general`
      includes `specific` more than the other way round.
    """

    def test(general, specific):
      return inclusion(general, specific, form=form).sum(axis=-1)

    return by_rows(test, general, specific)

  def entailment_score(
    self, general: Paired, specific: Paired
  ) -> Float[Array, " n"]:
    """Minus `inclusion` in its exact form, in nats."""
    return -self.inclusion(general, specific)


def _moments(rows):
  """Rows [mean | variance] of rows [mean | log variance]."""
  return join(means(rows), numerics.namespace(rows).exp(log_vars(rows)))


def _from_moments(rows):
  """Undoes `_moments`."""
  return join(means(rows), numerics.namespace(rows).log(log_vars(rows)))
