"""Zero-shot classification: the class with the nearest prompts wins."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from hyperclip_jax.evals.metrics import prompts
from hyperclip_jax.evals.metrics.prompts import Pool
from hyperclip_jax.evals.metrics.scores import (
  Similarity,
  by_each,
  others,
  projectors,
)
from hyperclip_jax.evals.metrics.uncertainty import correlations
from hyperclip_jax.evals.rates import classified
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference import templates as filters
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.protocol import Model

# (similarity, embeddings of classes) -> measures
Rate = Callable[[Similarity, np.ndarray], dict[str, float]]
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
  return nearest(model.similarity, image_embeddings, class_embeddings, 1)[:, 0]


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
  return nearest(model.similarity, images, classes, 5) == truth[:, None]


def measures(
  model: Model,
  images: Float[np.ndarray, "images dim"],
  names: Sequence[str],
  templates: Sequence[str],
  rate: Rate,
  main: str,
  pool: Callable[[], Pool | None] = lambda: None,
) -> dict[str, float]:
  """Measures zero-shot classification in all ways that a space offers.

  Args:
    model: model that made the embeddings.
    images: embeddings of images.
    names: name of each class.
    templates: prompts with one `{}` for the name.
    rate: function of a similarity and embeddings of classes that returns
      measures.
    main: name of the one of them to report in all ways.
    pool: function that encodes other images of the classes; called if the space
      has a use for them.

  Returns:
    Measures by the model's score; for Gaussians NAME_cosine, and `main` for the
    prompts that `prompts.measures` chooses; for an ensemble of projectors
    `main` by each and by weights, as MAIN_z, MAIN_h and MAIN_w0.1.
  """

  def by_scores(classes: Float[np.ndarray, "classes dim"]) -> dict[str, float]:
    return by_each(model, lambda similarity: rate(similarity, classes))

  if isinstance(model.space, Gaussian):
    rows = filters.embeddings(model, names, templates)
    kinds = (main, *(f"{main}_{name}" for name in others(model.space)))

    def mains(classes: Float[np.ndarray, "classes dim"]) -> dict[str, float]:
      found = by_scores(classes)
      return {name: found[name] for name in kinds}

    chosen = prompts.measures(rows, images, mains, pool())
    return by_scores(filters.classes(rows)) | chosen
  classes = class_embeddings(model, names, templates)
  return by_scores(classes) | {
    f"{main}_{name}": rate(similarity, classes)[main]
    for name, similarity in projectors(model.space).items()
  }


def accuracies(
  space: Space,
  images: Float[np.ndarray, "images dim"],
  labels: Integer[np.ndarray, "images"],
) -> Rate:
  """Makes the rates of `rates.classified`, which are means over classes.

  Args:
    space: space of the embeddings.
    images: embeddings of images.
    labels: class of each.

  Returns:
    Function of a similarity and classes, which returns also
    `uncertainty.correlations` of both accuracies.
  """

  def rate(
    similarity: Similarity, classes: Float[np.ndarray, "classes dim"]
  ) -> dict[str, float]:
    right = nearest(similarity, images, classes, 5) == labels[:, None]
    tops = {f"top{k}": right[:, :k].any(axis=1) for k in (1, 5)}
    found = classified(right, labels, len(classes))
    return found | correlations(space, images, tops)

  return rate


def nearest(
  similarity: Similarity,
  images: Float[np.ndarray, "images dim"],
  classes: Float[np.ndarray, "classes dim"],
  k: int,
) -> Int[np.ndarray, "images k"]:
  """Ranks the nearest classes of each image; ties go to the lower index.

  Args:
    similarity: score of the embeddings, such as `Model.similarity`.
    images: embeddings of images.
    classes: embeddings of classes.
    k: number of classes to rank; all, if there are fewer.

  Returns:
    Indices of classes, the nearest first.
  """
  rows = []
  for start in range(0, len(images), BATCH):
    scores = similarity(images[start : start + BATCH], classes)
    rows.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
  return np.concatenate(rows)
