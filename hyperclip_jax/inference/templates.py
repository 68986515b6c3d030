"""Selects templates of classes by their uncertainty, as Gaussians (ProLIP).

A class is the average of the templates that are kept (`Gaussian.mean`). Chun et
al., Probabilistic Language-Image Pre-Training, 2025, filter by uncertainty.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference.classify import prompts
from hyperclip_jax.inference.protocol import Model

Templates = Float[np.ndarray, "classes templates dim"]
Uncertainties = Float[np.ndarray, "classes templates"]
Kept = Bool[np.ndarray, "classes templates"]


def embeddings(
  model: Model, names: Sequence[str], templates: Sequence[str]
) -> Templates:
  """Embeds every template of every class.

  Args:
    model: model with a space of Gaussians.
    names: name of each class.
    templates: prompts with one `{}` for the name.

  Returns:
    A Gaussian for each class and template.

  Raises:
    TypeError: names or templates are not a list of strings, or the model's
      space is not one of Gaussians.
    ValueError: one is empty, or a template has braces other than one `{}`.
  """
  check(model.space)
  groups = prompts(names, templates)
  return np.stack([model.encode_text(group) for group in groups], axis=1)


def check(space: Space) -> None:
  """Checks for a space of Gaussians.

  Raises:
    TypeError: it is another space.
  """
  if not isinstance(space, Gaussian):
    raise TypeError(
      f"the space is {space}: templates have uncertainties in the space of "
      "Gaussians alone, such as of ProLIP"
    )


def lowest(u: Uncertainties, count: int) -> Kept:
  """Keeps the least uncertain templates of each class, and ties.

  Args:
    u: uncertainties, from `Gaussian.uncertainty`.
    count: number to keep.

  Returns:
    Mask of the templates to keep.

  Raises:
    ValueError: `count` is not positive.
  """
  if count < 1:
    raise ValueError(f"count is {count}: keep at least 1")
  order = np.sort(u, axis=1)
  return u <= order[:, min(count, u.shape[1]) - 1, None]


def lowest_of_all(u: Uncertainties, count: int) -> Kept:
  """Keeps the least uncertain templates of all classes together, and ties.

  Args:
    u: uncertainties.
    count: number to keep in total; each class keeps at least one.

  Returns:
    Mask of the templates to keep.

  Raises:
    ValueError: `count` is not positive.
  """
  if count < 1:
    raise ValueError(f"count is {count}: keep at least 1")
  order = np.sort(u, axis=None)
  return below(u, order[min(count, u.size) - 1])


def below_mean(u: Uncertainties, deviations: float) -> Kept:
  """Keeps templates up to some standard deviations above their class' mean.

  Args:
    u: uncertainties.
    deviations: factor of the sample standard deviation (of n - 1); may be
      negative. Each class keeps at least one template.

  Returns:
    Mask of the templates to keep.
  """
  std = u.std(axis=1, ddof=1) if u.shape[1] > 1 else np.zeros(len(u))
  return below(u, (u.mean(axis=1) + deviations * std)[:, None])


def below(u: Uncertainties, threshold: float | np.ndarray) -> Kept:
  """Keeps templates up to an uncertainty; each class keeps at least one.

  Args:
    u: uncertainties.
    threshold: largest uncertainty, one number or one for each class.

  Returns:
    Mask of the templates to keep.
  """
  return (u <= threshold) | (u == u.min(axis=1, keepdims=True)) & ~(
    u <= threshold
  ).any(axis=1, keepdims=True)


def classes(
  templates: Templates, kept: Kept | None = None
) -> Float[np.ndarray, "classes dim"]:
  """Averages the templates of each class.

  Args:
    templates: Gaussians.
    kept: which to keep, one of each class at least; None for all.

  Returns:
    A Gaussian for each class: its mean is the average of unit means, scaled to
    unit length, and its variances are averages.
  """
  if kept is None:
    kept = np.ones(templates.shape[:2], bool)
  space = Gaussian()
  return np.concatenate(
    [
      space.mean(rows[which][:, None])
      for rows, which in zip(templates, kept, strict=True)
    ]
  ).astype(np.float32 if templates.dtype == np.float32 else np.float64)


def uncertainties(templates: Templates) -> Uncertainties:
  """Computes the uncertainty of each template."""
  return gaussian.uncertainty(np.asarray(templates, np.float64))
