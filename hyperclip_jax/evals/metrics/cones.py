"""Entailment cones: whether general embeddings hold their specific ones.

Four relations of a record are measured: captions and phrases hold what they
describe, a phrase its caption, and a box the image that it is part of
(HyCoCLIP, Pal et al., ICLR 2025). Each is compared with shuffled pairs, since
the cone of a point near the root is a half-space, which holds much of anything.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperclip_jax.evals.metrics.ranking import auroc, auroc_error
from hyperclip_jax.evals.rates import CHANCE, ERROR
from hyperclip_jax.geometry.spaces import Space

Rows = Float[np.ndarray, "n dim"]


class Relation(NamedTuple):
  """Kinds of embeddings of which one entails the other, of the same record."""

  general: str
  specific: str


HALF_SPACE = np.radians(89)  # half apertures above are those of half-spaces
RELATIONS = {
  "text_image": Relation("text", "image"),
  "box_text_box_image": Relation("box_text", "box_image"),
  "box_text_text": Relation("box_text", "text"),
  "box_image_image": Relation("box_image", "image"),
}


def of_records(
  space: Space,
  embeddings: Mapping[str, Rows],
  texts: Mapping[str, Sequence[str]],
  parts: Bool[np.ndarray, " n"],
) -> dict[str, float]:
  """Measures every relation of RELATIONS.

  Args:
    space: space of the embeddings.
    embeddings: embeddings by kind, as in `norms.KINDS`; row i of each is of
      record i.
    texts: captions as "text" and phrases as "box_text".
    parts: whether a record has a part that is not the whole image; those
      without are pairs of captions and images only.

  Returns:
    Results of `measure` as "{relation}/{name}"; none for a space without cones
    or for relations without pairs.
  """
  if not space.cones:
    return {}
  everything = np.ones_like(parts)
  phrase, caption = (np.asarray(texts[k], object) for k in ("box_text", "text"))
  keep = {
    "text_image": everything,
    "box_text_text": parts & (phrase != caption),
  }
  found = {}
  for name, relation in RELATIONS.items():
    rows = keep.get(name, parts)
    general, specific = (embeddings[kind][rows] for kind in relation)
    alike = np.arange(np.count_nonzero(rows))
    if relation.general in texts:
      named = np.asarray(texts[relation.general], object)[rows]
      alike = np.unique(named.astype(str), return_inverse=True)[1].reshape(-1)
    measures = measure(space, general, specific, alike)
    found |= {f"{name}/{key}": value for key, value in measures.items()}
  return found


def measure(
  space: Space, general: Rows, specific: Rows, alike: Int[np.ndarray, " n"]
) -> dict[str, float]:
  """Compares pairs with shuffled ones.

  The i-th shuffled pair is of general point i + 1 and specific point i, without
  those whose general points are alike, which would be true. Rows that are not
  finite are left out.

  Args:
    space: space of the points, with cones.
    general: general points.
    specific: specific points, of the same pairs.
    alike: a number for each general point, equal for equal concepts.

  Returns:
    inside: share of pairs whose specific point lies in the cone of the general
      one, with its standard error.
    shuffled: the same of shuffled pairs.
    auroc: of the entailment score, pairs against shuffled ones; 0.5 by chance;
      with its standard error.
    similarity_auroc: the same of nearness, which knows no direction.
    angle, aperture: medians of exterior angles and half apertures in radians;
      means over the factors in a product of spaces.
    pairs: number of pairs.
    Nothing if there is no shuffled pair.

  Raises:
    TypeError: the space has no cones.
  """
  finite = np.isfinite(general).all(axis=1) & np.isfinite(specific).all(axis=1)
  general, specific, alike = general[finite], specific[finite], alike[finite]
  other = np.roll(np.arange(len(general)), -1)
  apart = alike[other] != alike
  if not apart.any():
    return {}
  false = general[other][apart], specific[apart]
  inside = _inside(space, general, specific)
  angle = space.exterior_angle(general, specific)
  aperture = space.half_aperture(general)
  truth = np.arange(len(general) + len(false[0])) < len(general)

  def area(name, score):
    scores = np.concatenate([score(general, specific), score(*false)])
    found = auroc(truth, scores)
    error = auroc_error(found, len(general), len(false[0]))
    return {name: found, f"{name}{ERROR}": error, f"{name}{CHANCE}": 0.5}

  rate = float(inside.mean())
  return {
    "inside": rate,
    f"inside{ERROR}": float(np.sqrt(rate * (1 - rate) / len(inside))),
    "shuffled": float(_inside(space, *false).mean()),
    **area("auroc", lambda *pair: -space.entailment_score(*pair)),
    **area("similarity_auroc", space.pairs),
    "angle": float(np.median(_by_row(angle))),
    "aperture": float(np.median(_by_row(aperture))),
    "pairs": float(len(general)),
  }


def _inside(
  space: Space, general: Rows, specific: Rows
) -> Bool[np.ndarray, " n"]:
  return space.cone_margin(general, specific) <= 0


def _by_row(
  angles: Float[np.ndarray, "n *factors"],
) -> Float[np.ndarray, " n"]:
  return angles.reshape(len(angles), -1).mean(axis=1)
