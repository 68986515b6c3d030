"""Entailment within chains of captions from general to specific, and of images.

Scored by average precision and AUROC of pairs that entail against pairs that do
not. The choice of negative pairs is described at each function.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.evals.metrics.ranking import auroc, average_precision
from hyperclip_jax.inference.protocol import Model

NEGATIVES = 100  # captions for each image, as published

Chain = tuple[str, ...]
Chains = Float[np.ndarray, "chains levels dim"]


def entailment_of_captions(
  model: Model,
  embeddings: Chains,
  captions: Sequence[Chain],
  owners: Int[np.ndarray, "chains"],
) -> dict[str, float]:
  """Scores whether general captions entail specific ones.

  A pair of captions of one chain is positive if the general one comes first.
  Each has up to two negatives: the same captions `reversed`, and a `foreign`
  pair, whose general caption is that of the same level in the next chain of
  another image (unless a chain of the image itself has that caption). Equal
  captions make no pair. CLIP's score is symmetric, so its AUROC on `reversed`
  is 0.5.

  Args:
    model: model to measure.
    embeddings: embeddings of the captions, general to specific in each chain.
    captions: texts of the captions.
    owners: index of each chain's image.

  Returns:
    ap and auroc against all negatives; auroc_reversed and auroc_foreign against
    one kind.

  Raises:
    ValueError: there are no pairs, or a score is NaN.
  """
  pairs = [
    (chain, i, j)
    for chain in range(len(captions))
    for i in range(len(captions[0]))
    for j in range(i + 1, len(captions[0]))
    if captions[chain][i] != captions[chain][j]
  ]
  others = _foreign(captions, owners)
  kinds = {
    "true": [((chain, i), (chain, j)) for chain, i, j in pairs],
    "reversed": [((chain, j), (chain, i)) for chain, i, j in pairs],
    "foreign": [
      ((others[chain, i], i), (chain, j))
      for chain, i, j in pairs
      if (chain, i) in others
    ],
  }
  scores = {kind: _score(model, embeddings, of) for kind, of in kinds.items()}

  def against(*names):
    negative = np.concatenate([scores[name] for name in names])
    truth = np.arange(len(scores["true"]) + len(negative)) < len(pairs)
    return truth, np.concatenate([scores["true"], negative])

  everything = against("reversed", "foreign")
  return {
    "ap": average_precision(*everything),
    "auroc": auroc(*everything),
    "auroc_reversed": auroc(*against("reversed")),
    "auroc_foreign": auroc(*against("foreign")),
  }


def entailment_of_images(
  model: Model,
  images: Float[np.ndarray, "chains dim"],
  embeddings: Chains,
  captions: Sequence[Chain],
) -> dict[str, float]:
  """Scores whether captions entail images.

  As in the evaluation code of Hyper3-CLIP, by the score of its published table,
  the signed margin. Positive are all captions of the image's chain; negative
  are the most specific captions of the first 100 other chains, unless they also
  occur in the image's chain.

  Args:
    model: model to measure.
    images: embedding of each chain's image.
    embeddings: embeddings of the captions, general to specific in each chain.
    captions: texts of the captions.

  Returns:
    ap and auroc.

  Raises:
    ValueError: there are no positive or no negative pairs, or a score is NaN.
  """
  truth, scores = [], []
  count, levels, _ = embeddings.shape
  for chain in range(count):
    others = [
      other
      for other in range(count)
      if other != chain and captions[other][-1] not in captions[chain]
    ][:NEGATIVES]
    general = np.concatenate([embeddings[chain], embeddings[others, -1]])
    specific = np.broadcast_to(images[chain], general.shape)
    scores.append(-model.entailment_score(general, specific))
    truth.append(np.arange(len(general)) < levels)
  ranked = np.concatenate(truth), np.concatenate(scores)
  return {"ap": average_precision(*ranked), "auroc": auroc(*ranked)}


def _foreign(
  captions: Sequence[Chain], owners: Int[np.ndarray, "chains"]
) -> dict[tuple[int, int], int]:
  """Maps (chain, level) to the next chain whose caption is another image's."""
  own: dict[int, set[str]] = {}
  for chain, owner in zip(captions, owners.tolist(), strict=True):
    own.setdefault(owner, set()).update(chain)
  count, found = len(captions), {}
  for chain, owner in enumerate(owners.tolist()):
    for level in range(len(captions[0])):
      for other in range(chain + 1, chain + count):
        text = captions[other % count][level]
        if text not in own[owner]:
          found[chain, level] = other % count
          break
  return found


def _score(
  model: Model, embeddings: Chains, pairs: Sequence[tuple]
) -> Float[np.ndarray, "pairs"]:
  """Scores pairs, higher where the first caption entails the second."""
  index = np.array(pairs, np.int64).reshape(-1, 2, 2)
  general, specific = index[:, 0], index[:, 1]
  return -model.entailment_score(
    embeddings[general[:, 0], general[:, 1]],
    embeddings[specific[:, 0], specific[:, 1]],
  )
