"""Losses of several views: weak and strong pairs, and those without negatives.

CLIP-Rocket contrasts weak views with weak ones and strong with strong
(Fini et al., 2023, arXiv 2305.08675); its variants add the losses of Barlow
Twins (Zbontar et al., 2021), SimSiam (Chen and He, 2021), BYOL (Grill et al.,
2020) or SwAV (Caron et al., 2020) between image and text. All of them see the
global batch: on sharded rows XLA adds the collectives.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry.numerics import Scalar, products, unit
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.losses import contrastive
from hyperclip_jax.losses.contrastive import Contrast


class Pair(NamedTuple):
  """Rows of images and of their texts.

  Attributes:
    image: row i belongs to the image of example i.
    text: row i belongs to its text.
  """

  image: Float[Array, "b dim"]
  text: Float[Array, "b dim"]


def smoothed(
  contrast: Contrast,
  scale: Scalar,
  x: Float[Array, "p dim"],
  y: Float[Array, "b dim"],
  smoothing: float = 0.0,
) -> Float[Array, ""]:
  """Computes the cross entropy of scaled cosines with smoothed labels.

  The target is 1 - q at the match and q / b everywhere. With logits l, the loss
  is the mean of CE_i + q (l_ii - mean_j l_ij), and the mean of cosines is the
  cosine of means, so the smoothing needs no matrix of logits.

  Args:
    contrast: implementation of the cross entropy without smoothing.
    scale: factor of cosines, the inverse temperature.
    x: unit rows; x[j] matches y[j // K] with p = K b.
    y: unit rows, the candidates.
    smoothing: q, in [0, 1].

  Returns:
    Loss in nats, a scalar.

  References:
    Szegedy et al., Rethinking the Inception Architecture, 2016.

  Examples:
    Rows that cannot be told apart have the loss of a guess, at any smoothing.

    >>> x = jnp.ones((4, 1))
    >>> loss = smoothed(contrastive.cross_entropy, 10.0, x, x, 0.1)
    >>> round(float(loss), 4)  # ln 4
    1.3863
  """
  space = Sphere()
  loss = contrast(space, scale, x, y)
  if not smoothing:
    return loss
  matching = jnp.mean(contrastive.matches(space, scale, x, y))
  mean = scale * jnp.dot(jnp.mean(x, axis=0), jnp.mean(y, axis=0))
  return loss + smoothing * (matching - mean)


def weak_and_strong(
  contrast: Contrast,
  weak: Pair,
  strong: Sequence[Pair],
  scale: Scalar,
  strong_scale: Scalar,
  smoothing: float = 0.0,
  query_only: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Contrasts weak views, and all pairs of strong views, of image and text.

  With n strong views, the loss of a direction is that of the weak pair plus n
  times the mean over the n^2 strong pairs, divided by 1 + n (CL2L of Fini et
  al., 2023). Only strong pairs are smoothed. Weak and strong never meet.

  Args:
    contrast: implementation of the cross entropy.
    weak: unit rows of the weak view.
    strong: unit rows of each strong view.
    scale: factor of the cosines of weak pairs.
    strong_scale: factor of the cosines of strong pairs.
    smoothing: label smoothing of strong pairs.
    query_only: whether candidates get no gradient, as in the published code on
      several devices.

  Returns:
    Loss, a scalar, and the terms of both directions and kinds of view.
  """

  def loss(scale, x, y, smoothing) -> Array:
    return smoothed(contrast, scale, x, _candidates(y, query_only), smoothing)

  image = loss(scale, weak.image, weak.text, 0.0)
  text = loss(scale, weak.text, weak.image, 0.0)
  terms = {"image_weak_loss": image, "text_weak_loss": text}
  if strong:
    images, texts = (_by_example(rows) for rows in zip(*strong, strict=True))
    image_strong = _mean(
      [loss(strong_scale, images, y.text, smoothing) for y in strong]
    )
    text_strong = _mean(
      [loss(strong_scale, texts, y.image, smoothing) for y in strong]
    )
    terms |= {
      "image_strong_loss": image_strong,
      "text_strong_loss": text_strong,
    }
    n = len(strong)
    image = (image + n * image_strong) / (1 + n)
    text = (text + n * text_strong) / (1 + n)
  return (image + text) / 2, terms


def barlow(
  image: Float[Array, "b dim"],
  text: Float[Array, "b dim"],
  off_diagonal: float = 0.005,
  weight: float = 0.025,
) -> Float[Array, ""]:
  """Makes the cross-correlation of image and text features the identity.

  The loss is weight * (sum of (C_ii - 1)^2 + off_diagonal * sum of C_ij^2 over
  i != j) with C = image' text / b. The features come from a BatchNorm, which
  centres and scales them.

  Args:
    image: features of images.
    text: features of their texts.
    off_diagonal: weight of redundancy between features.
    weight: weight of the whole.

  Returns:
    Loss, a scalar.

  References:
    Zbontar et al., Barlow Twins, 2021.
  """
  correlation = products(image.T, text.T) / len(image)
  diagonal = jnp.diagonal(correlation)
  square = jnp.square(correlation)
  redundancy = jnp.sum(square) - jnp.sum(jnp.diagonal(square))
  invariance = jnp.sum(jnp.square(diagonal - 1))
  return weight * (invariance + off_diagonal * redundancy)


def barlow_of_views(
  weak: Pair,
  strong: Sequence[Pair],
  off_diagonal: float = 0.005,
  weight: float = 0.025,
) -> Float[Array, ""]:
  """Averages `barlow` over the weak pair and all pairs of strong views.

  Args:
    weak: features of the weak view.
    strong: features of each strong view.
    off_diagonal: weight of redundancy between features.
    weight: weight of the whole.

  Returns:
    Loss, a scalar.
  """
  pairs = [weak, *_crossed(strong)]
  return _mean([barlow(*pair, off_diagonal, weight) for pair in pairs])


def siam(
  prediction: Float[Array, "b dim"], target: Float[Array, "b dim"]
) -> Float[Array, ""]:
  """Computes 2 - 2 cos of predictions and targets; targets get no gradient.

  Args:
    prediction: rows of any length.
    target: rows of any length.

  Returns:
    Loss in [0, 4], a scalar.

  References:
    Chen and He, Exploring Simple Siamese Representation Learning, 2021.
    Grill et al., Bootstrap Your Own Latent, 2020.
  """
  target = jax.lax.stop_gradient(unit(target))
  return 2 - 2 * jnp.mean(jnp.sum(unit(prediction) * target, axis=1))


def siam_of_views(
  weak: Pair,
  strong: Sequence[Pair],
  weak_target: Pair,
  strong_target: Sequence[Pair],
) -> Float[Array, ""]:
  """Averages `siam` over both directions of the weak and all strong pairs.

  Args:
    weak: predictions from the weak view; those of images predict texts.
    strong: predictions from each strong view.
    weak_target: what the weak view's predictions are compared with.
    strong_target: the same of each strong view; from the model itself
      (SimSiam) or its moving average (BYOL).

  Returns:
    Loss in [0, 4], a scalar.
  """
  terms = [
    siam(weak.image, weak_target.text),
    siam(weak.text, weak_target.image),
  ]
  for one in range(len(strong)):
    for other in range(len(strong)):
      terms += [
        siam(strong[one].image, strong_target[other].text),
        siam(strong[other].text, strong_target[one].image),
      ]
  return _mean(terms)


def sinkhorn(
  cosines: Float[Array, "b k"], epsilon: float = 0.05, iterations: int = 3
) -> Float[Array, "b k"]:
  """Assigns samples to prototypes so that all prototypes are used alike.

  exp(cosines / epsilon) is scaled by turns so that columns sum to 1 / k and
  rows to 1 / b, in logarithms, where nothing overflows.

  Args:
    cosines: samples by prototypes, of the global batch.
    epsilon: temperature; assignments become uniform as it grows.
    iterations: how often to scale columns and rows, at least once.

  Returns:
    Assignments without a gradient; rows sum to 1.

  References:
    Cuturi, Sinkhorn Distances, 2013; Caron et al., SwAV, 2020.

  Examples:
    Both samples are nearer to the first prototype, and still share them.

    >>> found = sinkhorn(jnp.array([[0.9, 0.1], [0.8, 0.7]]), 0.05, 3)
    >>> jnp.argmax(found, axis=1).tolist()
    [0, 1]
  """
  samples, prototypes = cosines.shape
  logs = jax.lax.stop_gradient(cosines) / epsilon
  logs = logs - jax.nn.logsumexp(logs)
  for _ in range(iterations):
    logs = logs - jax.nn.logsumexp(logs, axis=0, keepdims=True)
    logs = logs - math.log(prototypes)
    logs = logs - jax.nn.logsumexp(logs, axis=1, keepdims=True)
    logs = logs - math.log(samples)
  return jnp.exp(logs + math.log(samples))


def swapped(
  strong: Sequence[Pair],
  scale: Scalar,
  epsilon: float = 0.05,
  iterations: int = 3,
  query_only: bool = False,
) -> Float[Array, ""]:
  """Predicts the assignments of the other two strong views (SwALIP).

  The prototypes are the batch's own rows. For images of view a and texts of
  view b the targets are those of the other image and the other text.

  Args:
    strong: unit rows of two strong views.
    scale: factor of the cosines that predict.
    epsilon: temperature of the targets.
    iterations: iterations of `sinkhorn`.
    query_only: whether candidates get no gradient.

  Returns:
    Mean of both directions over the four pairs, a scalar.

  Raises:
    ValueError: there are not two strong views.
  """
  if len(strong) != 2:
    raise ValueError(
      f"swapped targets need two strong views, not {len(strong)}"
    )

  def term(image, text, other_image, other_text):
    cosines = products(other_image, other_text)
    both = (image, text, cosines), (text, image, cosines.T)
    return _mean(
      [
        soft_cross_entropy(
          sinkhorn(other, epsilon, iterations),
          scale * products(x, _candidates(y, query_only)),
        )
        for x, y, other in both
      ]
    )

  pairs, others = _crossed(strong), _crossed(strong[::-1])
  rows = [*zip(*pairs, strict=True), *zip(*others, strict=True)]
  return jnp.mean(jax.vmap(term)(*map(jnp.stack, rows)))


def prototype_cosines(
  features: Float[Array, "b dim"], prototypes: Float[Array, "k dim"]
) -> Float[Array, "b k"]:
  """Computes the cosines of features and prototypes."""
  return products(unit(features), unit(prototypes))


def swapped_prototypes(
  cosines: Pair,
  targets: Pair,
  scale: Scalar = 10.0,
  epsilon: float = 0.05,
  iterations: int = 3,
) -> Float[Array, ""]:
  """Predicts the prototypes of the text from the image and the other way round.

  Args:
    cosines: cosines with the prototypes, (b, k) each.
    targets: those that assignments are made of: `cosines` again, or those of a
      moving average of the model.
    scale: factor of the cosines that predict.
    epsilon: temperature of the targets.
    iterations: iterations of `sinkhorn`.

  Returns:
    Mean of both directions, a scalar.

  References:
    Caron et al., Unsupervised Learning of Visual Features by Contrasting
    Cluster Assignments (SwAV), 2020.
  """
  image, text = (sinkhorn(x, epsilon, iterations) for x in targets)
  return _mean(
    [
      soft_cross_entropy(text, scale * cosines.image),
      soft_cross_entropy(image, scale * cosines.text),
    ]
  )


def soft_cross_entropy(
  targets: Float[Array, "b k"], logits: Float[Array, "b k"]
) -> Float[Array, ""]:
  """Averages -sum_j targets_ij log softmax(logits)_ij over the rows i.

  Args:
    targets: probabilities; rows sum to 1.
    logits: logits of the predictions.

  Returns:
    Loss in nats, a scalar.
  """
  return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=1))


def scaled_gradient(x: Float[Array, "..."], factor: float) -> Array:
  """Returns `x`, whose gradient is multiplied by a factor."""
  return factor * x + jax.lax.stop_gradient((1 - factor) * x)


def _by_example(views: Sequence[Array]) -> Array:
  """Rows of several views, those of an example side by side."""
  return jnp.stack(views, axis=1).reshape(-1, views[0].shape[-1])


def _candidates(y: Array, query_only: bool) -> Array:
  return jax.lax.stop_gradient(y) if query_only else y


def _crossed(views: Sequence[Pair]) -> list[Pair]:
  """All pairs of an image of one view and a text of the same or another."""
  return [Pair(one.image, other.text) for one in views for other in views]


def _mean(values: Sequence[Array]) -> Array:
  return sum(values[1:], start=values[0]) / len(values)
