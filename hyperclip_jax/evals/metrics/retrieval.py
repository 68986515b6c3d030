"""Cross-modal retrieval: recall at k, from images to texts and back."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from hyperclip_jax.evals.metrics.scores import Similarity, by_each
from hyperclip_jax.evals.metrics.uncertainty import correlations
from hyperclip_jax.evals.rates import retrieved
from hyperclip_jax.inference.protocol import Model

BATCH = 1024  # queries scored at once: 100 MB of scores for 25,000 texts


def retrieval(
  model: Model,
  image_embeddings: Float[np.ndarray, "images dim"],
  text_embeddings: Float[np.ndarray, "texts dim"],
  ks: Sequence[int] = (1, 5),
  owner: Integer[np.ndarray, "texts"] | Sequence[int] | None = None,
) -> dict[str, float]:
  """Computes recall at k: how often a right candidate is among the k nearest.

  Ties and NaN count as errors, so that a model that maps everything to one
  point scores no better than chance. For the same reason two images with
  identical captions hide each other's; prefer captions that differ.

  Args:
    model: model to measure.
    image_embeddings: one row for each image.
    text_embeddings: one row for each caption.
    ks: cut-offs k.
    owner: index of each caption's image; None if caption i belongs to image i.

  Returns:
    i2t_r{k} (images that find any of their captions) and t2i_r{k} (captions
    that find their image) for every k.

  Raises:
    ValueError: there is no image, `owner` has an unknown index, or an image has
      no caption.
  """
  owners = np.arange(len(text_embeddings)) if owner is None else owner
  found = ranks(
    model.similarity, image_embeddings, text_embeddings, np.asarray(owners)
  )
  return {
    f"{way}_r{k}": float(np.mean(of < k))
    for way, of in zip(("i2t", "t2i"), found, strict=True)
    for k in ks
  }


def recalls(
  model: Model,
  image_embeddings: Float[np.ndarray, "images dim"],
  text_embeddings: Float[np.ndarray, "texts dim"],
  owners: Integer[np.ndarray, "texts"],
  ks: Sequence[int],
) -> dict[str, float]:
  """Computes `rates.retrieved` by each score of the model's space.

  Args:
    model: model that made the embeddings.
    image_embeddings: one row for each image.
    text_embeddings: one row for each caption.
    owners: index of each caption's image.
    ks: cut-offs k.

  Returns:
    As `rates.retrieved`; and for Gaussians the same by cosines
    (i2t_r{k}_cosine), and uncertainty/i2t_r{k}_corr and
    uncertainty/t2i_r{k}_corr: the correlation of uncertainty and recall (see
    `uncertainty.correlations`).

  Raises:
    ValueError: as `ranks`.
  """

  def measure(similarity: Similarity) -> dict[str, float]:
    found = ranks(similarity, image_embeddings, text_embeddings, owners)
    both = zip(
      ("i2t", "t2i"), (image_embeddings, text_embeddings), found, strict=True
    )
    return retrieved(*found, ks, owners) | {
      name: value
      for way, rows, of in both
      for name, value in correlations(
        model.space, rows, {f"{way}_r{k}": of < k for k in ks}
      ).items()
    }

  return by_each(model, measure)


def ranks(
  similarity: Similarity,
  image_embeddings: Float[np.ndarray, "images dim"],
  text_embeddings: Float[np.ndarray, "texts dim"],
  owners: Integer[np.ndarray, "texts"],
) -> tuple[Int[np.ndarray, "images"], Int[np.ndarray, "texts"]]:
  """Counts the wrong candidates as near as the nearest right one, or nearer.

  Args:
    model: model to measure.
    image_embeddings: one row for each image.
    text_embeddings: one row for each caption.
    owners: index of each caption's image.

  Returns:
    Rank of each image's best caption, and of each caption's image; 0 is best.

  Raises:
    ValueError: there is no image, `owners` has an unknown index, or an image
      has no caption.
  """
  if not len(image_embeddings):
    raise ValueError("there is no image to retrieve")
  images = np.arange(len(image_embeddings))
  if not np.array_equal(np.unique(owners), images):
    raise ValueError(
      f"the {len(owners)} captions must cover the {len(images)} images: every "
      f"image needs one, and every owner must be one of them"
    )
  i2t = _ranks(similarity, image_embeddings, text_embeddings, images, owners)
  t2i = _ranks(similarity, text_embeddings, image_embeddings, owners, images)
  return i2t, t2i


def _ranks(
  similarity: Similarity,
  queries: Float[np.ndarray, "queries dim"],
  candidates: Float[np.ndarray, "candidates dim"],
  query_owners: Integer[np.ndarray, "queries"],
  candidate_owners: Integer[np.ndarray, "candidates"],
) -> Int[np.ndarray, "queries"]:
  """Ranks the nearest right candidate of each query."""
  ranks = []
  for start in range(0, len(queries), BATCH):
    rows = slice(start, start + BATCH)
    scores = similarity(queries[rows], candidates)
    right = query_owners[rows, None] == candidate_owners
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    # Not `scores >= best`, which is false for NaN: that would rank it first.
    ranks.append(np.sum(~(scores < best) & ~right, axis=1))
  return np.concatenate(ranks)
