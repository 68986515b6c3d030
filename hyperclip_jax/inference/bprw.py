"""Bayesian prompt re-weighting (BPRW): weighs templates with images.

The templates of a class are the components of a mixture of Gaussians, whose
weights are fitted to images of a pool, which must not be those to be classified
(Chun et al., Probabilistic Language-Image Pre-Training, 2025, appendix A.8).
The official code takes its pool from the images that it scores.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.inference.templates import Templates

PRIORS = {
  "uniform": lambda variance: np.ones_like(variance),
  "inverse": lambda variance: 1 / variance,
  "inverse_sq": lambda variance: 1 / variance**2,
  "inverse_5": lambda variance: 1 / variance**5,
}
MOST_ROUNDS, CHANGE = 1000, 1e-12

Images = Float[np.ndarray, "images dim"]
Weights = Float[np.ndarray, "classes templates"]


class Settings(NamedTuple):
  """Settings of the re-weighting.

  Attributes:
    alpha: parameter of the symmetric Dirichlet prior; above 1, weights even
      out.
    multiplier: factor of the templates' variances, which the published rule
      applies twice.
    neighbours: images of the pool for each class.
    samples: draws from each image.
    eps: added to variances, between the two multiplications.
    prior: weights to start from, a key of `PRIORS`.
  """

  alpha: float
  multiplier: float
  neighbours: int
  samples: int
  eps: float
  prior: str


# As published: with labels of the pool, and without.
FEW_SHOT = Settings(2.0, 1.0, 5, 20, 0.02, "inverse")
UNLABELLED = Settings(5.0, 1.0, 10, 10, 0.02, "inverse")


class Reweighed(NamedTuple):
  """Result of `reweigh`.

  Attributes:
    classes: a Gaussian for each class.
    weights: weight of each template; those of a class sum to 1.
    images: rows of the pool that each class went by.
  """

  classes: np.ndarray
  weights: np.ndarray
  images: np.ndarray


def parse(text: str) -> Settings:
  """Parses settings such as "2-1-5-20-0.02-inverse".

  Args:
    text: alpha, multiplier, neighbours, samples, eps and prior, all of them.

  Returns:
    Settings.

  Raises:
    ValueError: it has another form, or a value is out of range.

  Examples:
    >>> parse("2-1-5-20-0.02-inverse") == FEW_SHOT
    True
  """
  fields = text.split("-")
  try:
    if len(fields) != len(Settings._fields):
      raise ValueError(f"{len(fields)} fields")
    alpha, multiplier, neighbours, samples, eps, prior = fields
    found = Settings(
      float(alpha),
      float(multiplier),
      int(neighbours),
      int(samples),
      float(eps),
      prior,
    )
  except ValueError as error:
    raise ValueError(
      f"settings {text!r} must be {'-'.join(Settings._fields)}, such as "
      f"2-1-5-20-0.02-inverse: {error}"
    ) from error
  _check(found)
  return found


def _check(settings: Settings) -> None:
  numbers = (settings.alpha, settings.multiplier, settings.eps)
  if not all(0 <= x < math.inf for x in numbers) or 0 in numbers[:2]:
    raise ValueError(
      f"alpha and multiplier must be positive and eps at least 0: {settings}"
    )
  if min(settings.neighbours, settings.samples) < 1:
    raise ValueError(f"neighbours and samples must be at least 1: {settings}")
  if settings.prior not in PRIORS:
    raise ValueError(
      f"prior must be one of {', '.join(PRIORS)}, found {settings.prior!r}"
    )


def reweigh(
  templates: Templates,
  pool: Images,
  settings: Settings = UNLABELLED,
  labels: Int[np.ndarray, " labels"] | None = None,
  seed: int = 0,
  scored: Float[np.ndarray, "scored dim"] | None = None,
  normalise: bool = False,
) -> Reweighed:
  """Makes classes of templates, weighted by the images of a pool.

  Args:
    templates: Gaussians of each class, from `templates.embeddings`.
    pool: Gaussians of images that are not to be classified.
    settings: `FEW_SHOT` with labels and `UNLABELLED` without, or others.
    labels: class of each image of the pool; None takes the nearest images of
      each class.
    seed: seed of the draws from the images.
    scored: images to be classified; a warning counts those in the pool.
    normalise: whether to scale the classes' means to unit length, which the
      published rule does not do.

  Returns:
    Classes, weights, and the images that were used.

  Raises:
    ValueError: a setting is out of range, or the pool has too few images of a
      class; the message names it.
  """
  _check(settings)
  if scored is not None:
    known = {row.tobytes() for row in np.asarray(scored, pool.dtype)}
    shared = sum(row.tobytes() in known for row in pool)
    if shared:
      warnings.warn(
        f"{shared} of the {len(pool)} images of the pool are among those to be "
        "scored: their accuracy will be too high; take another split",
        stacklevel=2,
      )
  chosen = select(templates, pool, settings.neighbours, labels)
  rng = np.random.default_rng(seed)
  half = pool.shape[1] // 2
  weights = []
  for own, rows in zip(templates, chosen, strict=True):
    noise = rng.standard_normal((len(rows), settings.samples, half))
    weights.append(weigh(own, draw(pool[rows], noise), settings))
  weights = np.stack(weights)
  return Reweighed(mix(templates, weights, normalise), weights, chosen)


def select(
  templates: Templates,
  pool: Images,
  count: int,
  labels: Int[np.ndarray, " labels"] | None = None,
) -> Int[np.ndarray, "classes count"]:
  """Chooses images of a pool for each class.

  Args:
    templates: Gaussians of each class.
    pool: Gaussians of images.
    count: number of images for each class.
    labels: class of each image, of which the first are taken; None takes those
      with the largest inner product with the average of the class' means.

  Returns:
    Rows of the pool for each class.

  Raises:
    ValueError: there are too few images.
  """
  if labels is None:
    if len(pool) < count:
      raise ValueError(f"the pool has {len(pool)} images, {count} are wanted")
    means = gaussian.means(templates).mean(axis=1)
    nearness = means @ gaussian.means(pool).T
    return np.argsort(-nearness, axis=1, kind="stable")[:, :count]
  if len(labels) != len(pool):
    raise ValueError(f"{len(labels)} labels for a pool of {len(pool)} images")
  found = [np.flatnonzero(labels == k)[:count] for k in range(len(templates))]
  for k, rows in enumerate(found):
    if len(rows) < count:
      raise ValueError(
        f"the pool has {len(rows)} images of class {k}, {count} are wanted"
      )
  return np.stack(found)


def draw(
  images: Images, noise: Float[np.ndarray, "images samples half"]
) -> Float[np.ndarray, "draws half"]:
  """Draws from Gaussians; draws are not scaled to unit length.

  Args:
    images: Gaussians.
    noise: standard normal numbers.

  Returns:
    Draws, those of an image in a row.
  """
  std = np.exp(gaussian.log_vars(np.asarray(images, np.float64)) / 2)
  found = gaussian.means(images)[:, None] + std[:, None] * noise
  return found.reshape(-1, noise.shape[2])


def weigh(
  templates: Float[np.ndarray, "templates dim"],
  draws: Float[np.ndarray, "draws half"],
  settings: Settings,
) -> Float[np.ndarray, " templates"]:
  """Weighs the templates of a class by expectation maximisation.

  The templates are components of a mixture whose weights alone are fitted, with
  a Dirichlet prior.

  Args:
    templates: Gaussians.
    draws: points to explain.
    settings: prior, start, and changes of the variances.

  Returns:
    Weights, which sum to 1.
  """
  rows = np.asarray(templates, np.float64)
  means, variances = gaussian.means(rows), np.exp(gaussian.log_vars(rows))
  # The published rule multiplies twice.
  wide = (variances * settings.multiplier + settings.eps) * settings.multiplier
  likelihoods = _log_densities(draws, means, wide)
  weights = PRIORS[settings.prior](variances.mean(axis=1))
  weights /= weights.sum()
  extra = settings.alpha - 1
  for _ in range(MOST_ROUNDS):
    before = weights
    with np.errstate(divide="ignore"):  # of weights that are 0
      joint = np.log(weights) + likelihoods
    shares = np.exp(joint - joint.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    total = len(draws) + len(means) * extra
    weights = np.maximum((shares.sum(axis=0) + extra) / total, 0)
    weights /= weights.sum()
    if np.linalg.norm(weights - before) < CHANGE:
      break
  return weights


def _log_densities(draws, means, variances):
  """(draws, templates), by products of matrices."""
  inverse = 1 / variances
  squares = (
    draws**2 @ inverse.T
    - 2 * draws @ (means * inverse).T
    + (means**2 * inverse).sum(axis=1)
  )
  constant = np.log(2 * np.pi * variances).sum(axis=1)
  return -0.5 * (squares + constant)


def mix(
  templates: Templates, weights: Weights, normalise: bool = False
) -> Float[np.ndarray, "classes dim"]:
  """Sums the templates of each class, weighed: a Gaussian of the sum.

  Args:
    templates: Gaussians.
    weights: weight of each.
    normalise: whether to scale means to unit length.

  Returns:
    Gaussians with means sum w mu and variances sum w^2 sigma^2.
  """
  rows = np.asarray(templates, np.float64)
  mean = np.einsum("ck,ckd->cd", weights, gaussian.means(rows))
  if normalise:
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
  variance = np.exp(gaussian.log_vars(rows))
  log_var = np.log(np.einsum("ck,ckd->cd", weights**2, variance))
  return gaussian.join(mean, log_var)
