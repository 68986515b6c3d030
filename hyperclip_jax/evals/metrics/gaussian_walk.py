"""Walks of Gaussians from a caption towards a root (ProLIP on HierarCaps).

A walk starts at the caption that is nearest to an image and goes along the
chord of means towards a root; the captions that it meets should be those of the
image, from special to general (Chun et al., 2025, Table 2).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry import gaussian

STEPS = 50  # points of a walk, as in the authors' code
BLOCK = 2**24  # numbers that are held at once

Gaussians = Float[np.ndarray, "n dim"]


def including(
  images: Gaussians,
  texts: Float[np.ndarray, "texts dim"],
  form: str = "reference",
) -> Gaussians:
  """Finds the text that includes each image the most.

  It goes by `gaussian.log_included`, which is a likelihood: narrow texts near
  the image win, too.

  Args:
    images: Gaussians.
    texts: Gaussians.
    form: "reference" as in the official code, or "exact".

  Returns:
    A text for each image.
  """
  step = max(1, BLOCK // max(texts.size, 1))
  found = []
  for start in range(0, len(images), step):
    some = images[start : start + step].astype(np.float64)
    scores = gaussian.log_included(some[:, None], texts[None], form=form)
    found.append(scores.sum(axis=-1).argmax(axis=1))
  return texts[np.concatenate([np.zeros(0, np.int64), *found])]


def roots(
  images: Gaussians,
  texts: Float[np.ndarray, "texts dim"],
  empty: Float[np.ndarray, " dim"],
) -> dict[str, Float[np.ndarray, "n half"]]:
  """Makes the roots that the paper compares.

  Args:
    images: Gaussians.
    texts: Gaussians of all captions.
    empty: Gaussian of the empty text.

  Returns:
    A unit mean for each image: "empty"; "included", that of the caption that
    includes the image most; and "both", the sum of these two, scaled.
  """
  alone = np.repeat(gaussian.means(empty)[None], len(images), axis=0)
  included = gaussian.means(including(images, texts))
  return {
    "empty": alone.astype(np.float64),
    "included": included.astype(np.float64),
    "both": _unit(included.astype(np.float64) + alone),
  }


def walk(
  images: Gaussians,
  texts: Float[np.ndarray, "texts dim"],
  captions: Sequence[str],
  own: Sequence[Sequence[str]],
  root: Float[np.ndarray, "n half"],
  steps: int = STEPS,
) -> dict[str, float]:
  """Measures which captions are met on the way from an image to a root.

  Args:
    images: Gaussians.
    texts: Gaussians of all captions.
    captions: the captions themselves, of which several may be alike.
    own: captions of each image.
    root: mean of the root of each image, as of `roots`.
    steps: points of a walk; the root itself is not one of them.

  Returns:
    Means over the images: "precision", the share of the captions met that are
    the image's own; "recall", the share of its own that are met; and "any",
    whether one is.
  """
  means = gaussian.means(np.asarray(texts, np.float64))
  starts = means[(gaussian.means(images) @ means.T).argmax(axis=1)]
  share = np.arange(steps)[:, None] / steps
  found = []
  for start, end, wanted in zip(starts, root, own, strict=True):
    points = _unit(start - share * (start - end))
    met = {captions[i] for i in (points @ means.T).argmax(axis=1)}
    right = len(met & set(wanted))
    found.append((right / len(met), right / len(set(wanted)), right > 0))
  values = np.mean(np.array(found, np.float64), axis=0).tolist()
  return dict(zip(("precision", "recall", "any"), values, strict=True))


def _unit(x: np.ndarray) -> np.ndarray:
  return x / np.linalg.norm(x, axis=-1, keepdims=True)
