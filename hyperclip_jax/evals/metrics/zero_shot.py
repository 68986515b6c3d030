"""Zero-shot classification: the class with the nearest prompts wins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from hyperclip_jax.evals.rates import classified
from hyperclip_jax.geometry import ensemble
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.protocol import Model

BATCH = 4096  # images scored at once: 16 MB of scores for 1,000 classes


def predict(
  model: Model,
  image_embeddings: Float[np.ndarray, "images dim"],
  class_embeddings: Float[np.ndarray, "classes dim"],
) -> Int[np.ndarray, "images"]:
  """Predicts the class nearest to each image.

  Args:
    model: model that made the embeddings.
    image_embeddings: one row for each image.
    class_embeddings: one row for each class.

  Returns:
    Class index of each image.
  """
  return _nearest(model, image_embeddings, class_embeddings, 1)[:, 0]


def zero_shot(
  model: Model,
  images: Float[np.ndarray, "images dim"] | Sequence[Any],
  labels: Integer[np.ndarray, "images"] | Sequence[int],
  names: Sequence[str],
  templates: Sequence[str],
) -> dict[str, float]:
  """Computes zero-shot accuracy, averaged over classes.

  Args:
    model: model to measure.
    images: embeddings (images, dim), or a list of images.
    labels: index in `names` of each image's class.
    names: name of each class.
    templates: prompts with one `{}` for the name.

  Returns:
    top1 and top5 accuracy. Classes without an image are left out of the mean.

  Raises:
    ValueError: there is no image, the number of labels differs, or a label is
      not an index into `names`.
  """
  found = hits(model, images, labels, names, templates)
  rates = classified(found, np.asarray(labels), len(names))
  return {name: rates[name] for name in ("top1", "top5")}


def hits(
  model: Model,
  images: Float[np.ndarray, "images dim"] | Sequence[Any],
  labels: Integer[np.ndarray, "images"] | Sequence[int],
  names: Sequence[str],
  templates: Sequence[str],
) -> Bool[np.ndarray, "images nearest"]:
  """Checks which of the five nearest classes of each image is the right one.

  Args:
    model: model to measure.
    images: embeddings (images, dim), or a list of images.
    labels: index in `names` of each image's class.
    names: name of each class.
    templates: prompts with one `{}` for the name.

  Returns:
    Whether the k-th nearest class is the right one; all classes are ranked
    where there are fewer than five.

  Raises:
    ValueError: as in `zero_shot`.
  """
  truth = np.asarray(labels)
  if not truth.size or len(images) != len(truth):
    raise ValueError(
      f"{len(images)} images for {len(truth)} labels: give as many of each, "
      f"and at least one"
    )
  if truth.min() < 0 or truth.max() >= len(names):
    raise ValueError(
      f"labels span {truth.min()}..{truth.max()}, but there are "
      f"{len(names)} class names"
    )
  if not isinstance(images, np.ndarray):
    images = model.encode_image(images)
  classes = class_embeddings(model, names, templates)
  return _nearest(model, images, classes, 5) == truth[:, None]


def by_weight(
  model: Model,
  images: Float[np.ndarray, "images dim"],
  labels: Integer[np.ndarray, "images"],
  names: Sequence[str],
  templates: Sequence[str],
) -> dict[str, float]:
  """Mean per-class accuracy by each projector of an ensemble, and by both.

  Args:
    model: The model.
    images: Embeddings of images, of a weight that is neither 0 nor 1.
    labels: For each image, the index of its class in `names`.
    names: One name a class.
    templates: Prompts with one `{}` for the name.

  Returns:
    top1_z and top1_h by the weak and the strong projector, and top1_w0.1 to
    top1_w0.9 by weights of the weak one; nothing if the model has one
    projector, or uses one.
  """
  space = model.space
  if not isinstance(space, Ensemble) or not 0 < space.weight < 1:
    return {}
  classes = class_embeddings(model, names, templates)
  found = {}
  for weight, scores in ensemble.scores(images, classes).items():
    right = scores.argmax(axis=1)[:, None] == np.asarray(labels)[:, None]
    name = {0.0: "h", 1.0: "z"}.get(weight, f"w{weight:g}")
    rates = classified(right, np.asarray(labels), len(names))
    found[f"top1_{name}"] = rates["top1"]
  return found


def _nearest(model, images, classes, k):
  """Returns the (images, k) nearest classes; ties go to the lower index."""
  rows = []
  for start in range(0, len(images), BATCH):
    scores = model.similarity(images[start : start + BATCH], classes)
    rows.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
  return np.concatenate(rows)
