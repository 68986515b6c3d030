"""Zero-shot classification: results, prompts and probabilities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from hyperclip_jax.inference import inputs
from hyperclip_jax.inference.protocol import Model


class Classification(NamedTuple):
  """Result of `HyperCLIP.classify`.

  Attributes:
    labels: class names, in the order given.
    probabilities: (images, labels) float64; rows sum to 1.
  """

  labels: list[str]
  probabilities: np.ndarray

  def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
    """Lists the `k` most probable labels of each image.

    Args:
      k: number of labels to return; all, if there are fewer.

    Returns:
      (label, probability) pairs for each image, best first.

    Raises:
      TypeError: `k` is not a whole number.
      ValueError: `k` is not positive.
    """
    k = inputs.whole("k", k)
    order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
    return [
      [(self.labels[i], float(row[i])) for i in best]
      for row, best in zip(self.probabilities, order, strict=True)
    ]


def prompts(labels: Any, templates: Any) -> list[list[str]]:
  """Fills templates with labels.

  Args:
    labels: list of class names.
    templates: list of prompts with one `{}` for the name.

  Returns:
    Prompts of each template, in the order of the labels.

  Raises:
    TypeError: `labels` or `templates` is not a list of strings.
    ValueError: a list is empty, or a template has braces other than one `{}`.
  """
  names = inputs.strings("labels", labels)
  forms = inputs.strings("templates", templates)
  if not names:
    raise ValueError("labels is empty: give at least one")
  if not forms:
    raise ValueError("templates is empty: give at least one, such as '{}'")
  for template in forms:
    rest = template.replace("{}", "", 1)
    if len(rest) == len(template) or "{" in rest or "}" in rest:
      raise ValueError(
        f"template {template!r} must contain {{}} once, and no other brace"
      )
  return [[form.replace("{}", name) for name in names] for form in forms]


def softmax(
  logits: Float[np.ndarray, "rows classes"],
) -> Float64[np.ndarray, "rows classes"]:
  """Computes the softmax of each row in float64."""
  logits = np.asarray(logits, np.float64)
  shares = np.exp(logits - logits.max(axis=1, keepdims=True))
  return shares / shares.sum(axis=1, keepdims=True)


def class_embeddings(
  model: Model, names: Sequence[str], templates: Sequence[str]
) -> Float[np.ndarray, "classes dim"]:
  """Embeds each class as the mean of its prompts.

  Prompts are averaged by `Space.mean`, since the plain mean of points would
  leave the manifold.

  Args:
    model: model to embed with.
    names: name of each class.
    templates: prompts with one `{}` for the name, such as "a photo of a {}.".

  Returns:
    One lifted embedding for each class.

  Raises:
    TypeError: names or templates are not a list of strings.
    ValueError: one is empty, or a template has braces other than one `{}`.
  """
  groups = prompts(names, templates)
  # one template at a time: 1,000 x 80 prompts take much memory
  tangents = (model.encode_text(texts, lift=False) for texts in groups)
  with np.errstate(over="ignore", invalid="ignore"):  # of a diverged model
    return model.space.mean(tangents).astype(np.float32)
