"""What a model makes of one picture: what is near, above and around it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.inference import walk
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.search import Hit, Index


class Things(NamedTuple):
  """What may be met on a walk besides the phrases.

  Attributes:
    index: of texts and pictures, made by the model.
    pictures: of each row; None shows its name.
  """

  index: Index
  pictures: Sequence[Pixels | None]


class Cone(NamedTuple):
  """A phrase's entailment cone and the picture; angles in radians.

  Attributes:
    phrase: at the apex.
    apex: the phrase's distance from the root.
    picture: the picture's distance from the root.
    between: the angle at the root between the two.
    aperture: half the opening.
    margin: at most zero where the picture lies in the cone.
  """

  phrase: str
  apex: float
  picture: float
  between: float
  aperture: float
  margin: float


class Answer(NamedTuple):
  """What was found.

  Attributes:
    nearest: phrases and texts of the index, the nearest first.
    distances: of the nearest from the picture, as of `Space.distance`.
    walk: what is met on the way to the root; rows are of the phrases, and of
      the things after them.
    cones: of each phrase, the clearest first; none where the space has none.
    embeddings: lifted: "image" (1, dim) and "text" (phrases, dim).
  """

  nearest: list[Hit]
  distances: list[float]
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
  """Looks a picture up among phrases and other things.

  Args:
    model: the model.
    picture: to look up.
    phrases: one or more.
    things: made by the model too; may be none.
    count: most of the nearest.

  Raises:
    ValueError: there is no phrase, or the index is another model's.
  """
  if not phrases:
    raise ValueError("type one phrase or more, one a line")
  model.check_index(things.index)
  image, texts = model.encode_image([picture]), model.encode_text(phrases)
  known = [i for i, shown in enumerate(things.pictures) if shown is None]
  named = [*phrases, *(things.index.names[i] for i in known)]
  rows = np.concatenate([texts, things.index.embeddings[known]])
  (nearest,) = model.search(image, model.index(rows, named), count)
  distances = model.space.distance(rows[[hit.row for hit in nearest]], image)
  candidates = np.concatenate([texts, things.index.embeddings])
  met = model.index(candidates, [*phrases, *things.index.names])
  stops = walk.to_root(image[0], model.root, met)
  cones = _cones(model, image, phrases, texts) if model.space.cones else []
  embeddings = {"image": image, "text": texts}
  return Answer(nearest, distances.tolist(), stops, cones, embeddings)


def _cones(model, image, phrases, texts) -> list[Cone]:
  margins = model.entailment_score(texts, image)
  apertures = model.space.half_aperture(texts)
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
      float(apertures[i]),
      float(margins[i]),
    )
    for i in np.argsort(margins, kind="stable")
  ]
