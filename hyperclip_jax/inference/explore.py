"""Explores one picture: nearest phrases, walk to the root, and cones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.inference import walk
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.search import Index


class Things(NamedTuple):
  """Entries that a walk may meet, besides the phrases.

  Attributes:
    index: index of texts and pictures that the model made.
    pictures: picture of each row; None to show its name.
  """

  index: Index
  pictures: Sequence[Pixels | None]


class Near(NamedTuple):
  """A phrase, or a text of the index, beside the picture.

  Attributes:
    name: its text.
    distance: its distance from the picture.
    probability: among the phrases, or among the texts of the index, by the
      trained softmax.
  """

  name: str
  distance: float
  probability: float


class Cone(NamedTuple):
  """Entailment cone of a phrase, and the picture; angles in radians.

  Attributes:
    phrase: phrase at the apex.
    apex: distance of the phrase from the root.
    picture: distance of the picture from the root.
    between: angle at the root between the two.
    aperture: half the opening of the cone.
    margin: cone margin of the picture, at most 0 inside the cone.
  """

  phrase: str
  apex: float
  picture: float
  between: float
  aperture: float
  margin: float


class Answer(NamedTuple):
  """Result of `explore`.

  Attributes:
    phrases: the nearest of the phrases.
    texts: the nearest of the texts of the index.
    walk: stops on the way to the root; rows count the phrases first, then the
      entries of the index.
    cones: cone of each phrase, clearest entailment first; empty if the space
      has no cones.
    embeddings: lifted: "image" (1, dim) and "text" (phrases, dim).
  """

  phrases: list[Near]
  texts: list[Near]
  walk: tuple[walk.Stop, ...]
  cones: list[Cone]
  embeddings: dict[str, Float[np.ndarray, "_ dim"]]


def explore(
  model: HyperCLIP,
  picture: Pixels,
  phrases: Sequence[str],
  things: Things,
  count: int = 8,
) -> Answer:
  """Finds what is near a picture, its walk to the root, and cones around it.

  Args:
    model: model to use.
    picture: uint8 pixels (height, width, 3).
    phrases: phrases to compare, at least one.
    things: further entries, embedded by the same model; may be empty.
    count: number of nearest phrases to return, and of nearest texts.

  Returns:
    Nearest phrases and texts, walk, cones and embeddings.

  Raises:
    ValueError: there is no phrase, or the index was made by another model.
  """
  if not phrases:
    raise ValueError("give at least one phrase, one per line")
  model.check_index(things.index)
  image, texts = model.encode_image([picture]), model.encode_text(phrases)
  known = [i for i, shown in enumerate(things.pictures) if shown is None]
  names = [things.index.names[i] for i in known]

  candidates = np.concatenate([texts, things.index.embeddings])
  met = model.index(candidates, [*phrases, *things.index.names])
  stops = walk.to_root(image[0], model.root, met)
  cones = _cones(model, image, phrases, texts) if model.space.cones else []
  embeddings = {"image": image, "text": texts}
  return Answer(
    _nearest(model, image, texts, phrases, count),
    _nearest(model, image, things.index.embeddings[known], names, count),
    stops,
    cones,
    embeddings,
  )


def _nearest(
  model: HyperCLIP, image, rows, names: Sequence[str], count: int
) -> list[Near]:
  if not names:
    return []
  distances = model.space.distance(rows, image)
  shares = model.probabilities(image, rows)[0]
  (hits,) = model.search(image, model.index(rows, names), count)
  return [
    Near(hit.name, float(distances[hit.row]), float(shares[hit.row]))
    for hit in hits
  ]


def _cones(model, image, phrases, texts) -> list[Cone]:
  margins = model.entailment_score(texts, image)
  apertures = model.space.half_aperture(texts).reshape(len(texts), -1)
  lengths = np.linalg.norm(texts, axis=1) * np.linalg.norm(image)
  cosines = (texts @ image[0]) / np.maximum(lengths, 1e-12)
  angles = np.arccos(np.clip(cosines, -1, 1))
  apexes = model.distance_to_root(texts)
  picture = float(model.distance_to_root(image)[0])
  return [
    Cone(
      phrases[i],
      float(apexes[i]),
      picture,
      float(angles[i]),
      float(apertures[i].mean()),
      float(margins[i]),
    )
    for i in np.argsort(margins, kind="stable")
  ]
