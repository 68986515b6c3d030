"""HierarCaps: captions of one image from the most general to the whole one.

Alper and Averbuch-Elor, "Emergent Visual-Semantic Hierarchies in Image-Text
Representations", ECCV 2024. A chain is "bird => blue bird => blue bird sitting
on top of branch => A blue bird sitting on the top of a branch ...": four
captions, each entailed by the next.

Traversal (`precision`, `recall`) and `d_corr` were checked against the authors'
code (https://github.com/TAU-VAILab/hierarcaps, code/evaluation). It covers CLIP
alone, with the empty caption as the root; that the root is the hyperboloid's
where there is one, and distances geodesic, is our reading. It breaks ties of
distances by their order, where `d_corr` takes them for neither.

Neither AP nor AUROC of entailment is in that code. `image_entailment` follows
the code of Hyper3-CLIP (https://github.com/Hyper3Labs/hyper3-clip), which was
read, not run. The pairs of `entailment`, caption with caption, are our choice:
the data set has no list of pairs that do not entail.
"""

import csv
import io
import pathlib
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.data.records.images import center_square
from hyperclip_jax.evals.datasets.files import Source, require, unique
from hyperclip_jax.evals.encoding import encode_files
from hyperclip_jax.evals.metrics import gaussian_walk
from hyperclip_jax.evals.metrics.caption_entailment import (
  Chain,
  Chains,
  entailment_of_captions,
  entailment_of_images,
)
from hyperclip_jax.evals.tasks import Results, Task, left, within
from hyperclip_jax.files import inside, read_text, shown
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.inference.protocol import Model

LEVELS = 4
STEPS = 50  # Radii at which a walk stops, as in the authors' code.
BATCH = 256  # Images scored at once: 4 MB of scores for 4,000 captions.

WANTED = Source(
  "hierarcaps",
  "https://github.com/TAU-VAILab/hierarcaps (a clone of it)",
  "hierarcaps/data/hierarcaps_test.csv\n"
  "hierarcaps/assets/test_imgs/COCO_val2014_*.jpg",
)


class Captions(NamedTuple):
  """The test set: row i is chain i.

  Attributes:
    chains: four captions each, the general one first.
    images: the image of each; several chains may share one.
  """

  chains: list[Chain]
  images: list[pathlib.Path]


def hierarcaps(model: Model, folder: pathlib.Path) -> Results:
  """All of HierarCaps: entailment, caption traversal and order of distances.

  Args:
    model: The model.
    folder: A clone of the data set's repository.

  Returns:
    entailment_..., what `entailment_of_captions` returns; image_entailment_...,
    `entailment_of_images`; precision and recall of `traversal`; d_corr; counts;
    and of Gaussians walk_..., `gaussian_walk.walk` towards each root. Chains
    whose image cannot be read are left out.

  Raises:
    MissingData: Says what is missing and where to get it.
    ValueError: A record is damaged; its file and line are named.
  """
  everything = read(folder)
  paths, _ = unique(everything.images)
  images, good, left_out = encode_files(model, paths, center_square)
  data = _of(everything, {paths[i] for i in good})
  _, owners = unique(data.images)
  texts, rows = unique([text for chain in data.chains for text in chain])
  rows = rows.reshape(-1, LEVELS)
  captions = model.encode_text(texts)
  radii = _radii(model, captions)[rows]
  chains = captions[rows]
  groups = {
    "entailment": entailment_of_captions(model, chains, data.chains, owners),
    "image_entailment": entailment_of_images(
      model, images[owners], chains, data.chains
    ),
  }
  return {
    **{f"{g}_{name}": v for g, of in groups.items() for name, v in of.items()},
    **traversal(model, images, chains, radii, data.chains, owners),
    "d_corr": d_corr(radii),
    **_walks(model, images, captions, texts, data.chains, owners),
    "images": float(len(images)),
    "texts": float(len(data.chains) * LEVELS),
    **left(left_out),
  }


def _walks(
  model: Model,
  images: Float[np.ndarray, "images dim"],
  embeddings: Float[np.ndarray, "texts dim"],
  texts: Sequence[str],
  captions: Sequence[Chain],
  owners: Int[np.ndarray, "chains"],
) -> dict[str, float]:
  """Walks towards each of ProLIP's roots, from each chain's image.

  Other models than of Gaussians have none.
  """
  if not isinstance(model.space, Gaussian):
    return {}
  starts = images[owners]
  roots = gaussian_walk.roots(starts, embeddings, model.encode_text([""])[0])
  return {
    f"walk_{root}_{name}": value
    for root, means in roots.items()
    for name, value in gaussian_walk.walk(
      starts, embeddings, texts, captions, means
    ).items()
  }


def traversal(
  model: Model,
  images: Float[np.ndarray, "images dim"],
  embeddings: Chains,
  radii: Float[np.ndarray, "chains levels"],
  captions: Sequence[Chain],
  owners: Int[np.ndarray, "chains"],
) -> dict[str, float]:
  """Captions met on the way from the root to an image, against its chains.

  At each of 50 radii, equally spaced from the nearest caption's to the
  farthest's, the caption met is the one nearest to the image among all that lie
  no further from the root.

  Args:
    model: The model.
    images: One row an image.
    embeddings: Of the captions.
    radii: The captions' distances from the root.
    captions: The captions themselves.
    owners: For each chain, the row of its image.

  Returns:
    Means over the images. precision: the share of the captions met that are in
    a chain of the image. recall: the share of the four levels at which one was
    met.
  """
  flat = radii.astype(np.float64).ravel()
  order = np.argsort(flat, kind="stable")
  steps = np.linspace(flat.min(), flat.max(), STEPS)
  last = np.searchsorted(flat[order], steps, side="right") - 1
  texts = [text for chain in captions for text in chain]
  candidates = embeddings.reshape(len(texts), -1)[order]
  precisions, recalls = [], []
  for start in range(0, len(images), BATCH):
    batch = images[start : start + BATCH]
    nearest = _running_argmax(model.similarity(batch, candidates))[:, last]
    for image, row in enumerate(nearest, start):
      met = {texts[i] for i in order[row]}
      own = [captions[i] for i in np.flatnonzero(owners == image).tolist()]
      levels = [met.intersection(level) for level in zip(*own, strict=True)]
      precisions.append(len(set().union(*levels)) / len(met))
      recalls.append(sum(map(bool, levels)) / LEVELS)
  return {
    "precision": float(np.mean(precisions)),
    "recall": float(np.mean(recalls)),
  }


def d_corr(radii: Float[np.ndarray, "chains levels"]) -> float:
  """Kendall's tau of the levels and their distances from the root, averaged.

  1 where every more specific caption lies further out, -1 where none does.
  """
  i, j = np.triu_indices(radii.shape[1], 1)
  return float(np.mean(np.sign(radii[:, j] - radii[:, i])))


def read(folder: pathlib.Path) -> Captions:
  """Reads data/hierarcaps_test.csv; images are looked for, not read.

  Raises:
    MissingData: The list or an image is not there.
    ValueError: A record is damaged; its file and line are named.
  """
  path = folder / "data" / "hierarcaps_test.csv"
  photos = folder / "assets" / "test_imgs"
  require([path, photos], WANTED)
  reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
  chains, images = [], []
  try:
    for row in reader:
      chains.append(_chain(row.get("captions")))
      url = row.get("image_url") or ""
      images.append(inside(photos, url.rpartition("/")[2]))
  except (csv.Error, ValueError) as error:
    raise ValueError(
      f"{path}: line {reader.reader.line_num}: {error}"
    ) from error
  if not chains:
    raise ValueError(f"{path}: no record after the header")
  require(dict.fromkeys(images), WANTED)
  return Captions(chains, images)


def _of(data: Captions, images: Set[pathlib.Path]) -> Captions:
  """The chains of some of the images."""
  rows = zip(data.chains, data.images, strict=True)
  kept = [(chain, image) for chain, image in rows if image in images]
  return Captions([c for c, _ in kept], [image for _, image in kept])


def _chain(text: str | None) -> Chain:
  chain = tuple(part.strip() for part in (text or "").split("=>"))
  if len(chain) != LEVELS or not all(chain):
    raise ValueError(
      f"captions are {shown(repr(text))}, not {LEVELS} captions with => "
      "between them"
    )
  return chain


def _radii(
  model: Model, embeddings: Float[np.ndarray, "texts dim"]
) -> Float[np.ndarray, "texts"]:
  """Distances from the root; CLIP's is the embedding of no words at all.

  Of Gaussians it is the distance of the means.
  """
  if model.space.rooted:
    return model.distance_to_root(embeddings)
  apart = embeddings - model.encode_text([""])
  if isinstance(model.space, Gaussian):
    apart = gaussian.means(apart)
  return np.linalg.norm(apart, axis=1)


def _running_argmax(
  scores: Float[np.ndarray, "rows columns"],
) -> Int[np.ndarray, "rows columns"]:
  """Where the greatest of the columns so far stands; the first of equals."""
  best = np.maximum.accumulate(scores, axis=1)
  record = np.ones(scores.shape, bool)
  record[:, 1:] = scores[:, 1:] > best[:, :-1]
  columns = np.arange(scores.shape[1])[None]
  return np.maximum.accumulate(np.where(record, columns, 0), axis=1)


TASKS = (Task("hierarcaps", within("hierarcaps", hierarcaps), {}),)
