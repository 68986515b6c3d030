"""Cross-modal retrieval: recall at k, from images to texts and back."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from hyperclip_jax.inference.protocol import Model

BATCH = 1024  # Queries scored at once: 100 MB of scores for 25,000 texts.


def retrieval(
  model: Model,
  image_embeddings: Float[np.ndarray, "images dim"],
  text_embeddings: Float[np.ndarray, "texts dim"],
  ks: Sequence[int] = (1, 5),
  owner: Integer[np.ndarray, "texts"] | Sequence[int] | None = None,
) -> dict[str, float]:
  """Recall at k: how often the k nearest candidates hold a right one.

  Ties count against the model, and so does NaN: one that collapsed to a single
  point scores chance or less, not 1. It follows that two images with the very
  same caption hide each other's; prefer captions that differ.

  Args:
    model: The model.
    image_embeddings: One row an image.
    text_embeddings: One row a caption.
    ks: The cut-offs.
    owner: For each caption, the row of its image; None: caption i is image i's.

  Returns:
    i2t_r{k} (images find any caption of theirs) and t2i_r{k} (captions find
    their image) for every k.

  Raises:
    ValueError: There is no image, `owner` names none, or an image has no
      caption.
  """
  owners = np.arange(len(text_embeddings)) if owner is None else owner
  found = ranks(model, image_embeddings, text_embeddings, np.asarray(owners))
  return {
    f"{way}_r{k}": float(np.mean(of < k))
    for way, of in zip(("i2t", "t2i"), found, strict=True)
    for k in ks
  }


def ranks(
  model: Model,
  image_embeddings: Float[np.ndarray, "images dim"],
  text_embeddings: Float[np.ndarray, "texts dim"],
  owners: Integer[np.ndarray, "texts"],
) -> tuple[Int[np.ndarray, "images"], Int[np.ndarray, "texts"]]:
  """How many wrong candidates lie no further than the nearest right one.

  Args:
    model: The model.
    image_embeddings: One row an image.
    text_embeddings: One row a caption.
    owners: For each caption, the row of its image.

  Returns:
    One rank an image, among captions, and one a caption, among images.

  Raises:
    ValueError: There is no image, an owner is none, or an image has no caption.
  """
  if not len(image_embeddings):
    raise ValueError("there is no image to retrieve")
  images = np.arange(len(image_embeddings))
  if not np.array_equal(np.unique(owners), images):
    raise ValueError(
      f"the {len(owners)} captions must cover the {len(images)} images: every "
      f"image needs one, and every owner must be one of them"
    )
  i2t = _ranks(model, image_embeddings, text_embeddings, images, owners)
  t2i = _ranks(model, text_embeddings, image_embeddings, owners, images)
  return i2t, t2i


def _ranks(
  model: Model,
  queries: Float[np.ndarray, "queries dim"],
  candidates: Float[np.ndarray, "candidates dim"],
  query_owners: Integer[np.ndarray, "queries"],
  candidate_owners: Integer[np.ndarray, "candidates"],
) -> Int[np.ndarray, "queries"]:
  """How many wrong candidates are no further than the nearest right one."""
  ranks = []
  for start in range(0, len(queries), BATCH):
    rows = slice(start, start + BATCH)
    scores = model.similarity(queries[rows], candidates)
    right = query_owners[rows, None] == candidate_owners
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    # Not `scores >= best`, which NaN would answer with no: a perfect rank.
    ranks.append(np.sum(~(scores < best) & ~right, axis=1))
  return np.concatenate(ranks)
