"""HierarCaps: chains of captions of one image, from general to complete.

Alper and Averbuch-Elor, "Emergent Visual-Semantic Hierarchies in Image-Text
Representations", ECCV 2024. A chain is "bird => blue bird => blue bird sitting
on top of branch => A blue bird sitting on the top of a branch ...": four
captions, each entailed by the next.

Traversal (`precision`, `recall`) and `d_corr` were checked against the authors'
code (https://github.com/TAU-VAILab/hierarcaps, code/evaluation). That code
covers only CLIP, with the empty caption as the root; taking the root of the
hyperboloid, where there is one, and geodesic distances is our interpretation.
It breaks ties of distances by their order, whereas `d_corr` counts them as
neither concordant nor discordant.

Neither AP nor AUROC of entailment is in that code. `image_entailment` follows
the code of Hyper3-CLIP (https://github.com/Hyper3Labs/hyper3-clip), which was
read, not run. The caption pairs of `entailment` are our choice: the data set
lists no pairs that do not entail.
"""

import pathlib
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.data.records.images import center_square
from hyperclip_jax.evals.datasets.files import Source, parsed, require, unique
from hyperclip_jax.evals.encoding import encode_files
from hyperclip_jax.evals.metrics import gaussian_walk
from hyperclip_jax.evals.metrics.caption_entailment import (
  Chain,
  Chains,
  entailment_of_captions,
  entailment_of_images,
)
from hyperclip_jax.evals.tasks import Results, Task, left, within
from hyperclip_jax.files import inside, shown
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.inference.protocol import Model

LEVELS = 4
STEPS = 50  # radii at which captions are looked up, as in the authors' code
BATCH = 256  # images scored at once: 4 MB of scores for 4,000 captions

WANTED = Source(
  "hierarcaps",
  "https://github.com/TAU-VAILab/hierarcaps (a clone of it)",
  "hierarcaps/data/hierarcaps_test.csv\n"
  "hierarcaps/assets/test_imgs/COCO_val2014_*.jpg",
)


class Captions(NamedTuple):
  """The test set; item i of each list is chain i.

  Attributes:
    chains: four captions each, the most general first.
    images: image of each chain; several chains may share one.
  """

  chains: list[Chain]
  images: list[pathlib.Path]


def hierarcaps(model: Model, folder: pathlib.Path) -> Results:
  """Measures entailment, traversal and order of distances on HierarCaps.

  Args:
    model: model to measure.
    folder: clone of the data set's repository.

  Returns:
    entailment_..., from `entailment_of_captions`; image_entailment_..., from
    `entailment_of_images`; precision and recall of `traversal`; d_corr; counts;
    and for Gaussians walk_..., `gaussian_walk.walk` towards each root. Chains
    whose image cannot be read are left out.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and line.
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
  """Compares captions between the root and each image with the image's chains.

  At each of 50 radii, equally spaced from the nearest caption's to the
  farthest's, the caption nearest to the image is looked up among those within
  that radius of the root.

  Args:
    model: model that made the embeddings.
    images: one row for each image.
    embeddings: embeddings of the captions, general to specific in each chain.
    radii: distances of the captions from the root.
    captions: texts of the captions.
    owners: index of each chain's image.

  Returns:
    Means over the images. precision: fraction of the captions found that are in
      a
    chain of the image. recall: fraction of the four levels at which one was
    found.
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
  """Averages Kendall's tau between levels and distances from the root.

  It is 1 if every more specific caption lies further out, and -1 if none does.
  """
  i, j = np.triu_indices(radii.shape[1], 1)
  return float(np.mean(np.sign(radii[:, j] - radii[:, i])))


def read(folder: pathlib.Path) -> Captions:
  """Reads data/hierarcaps_test.csv, and checks that all images exist.

  Args:
    folder: clone of the data set's repository.

  Returns:
    Chains of captions; the images are not read yet.

  Raises:
    MissingData: the list or an image is missing.
    ValueError: a record is damaged; the message names the file and line.
  """
  path = folder / "data" / "hierarcaps_test.csv"
  photos = folder / "assets" / "test_imgs"
  require([path, photos], WANTED)

  def record(row: Mapping[str, Any]) -> tuple[Chain, pathlib.Path]:
    chain, url = _chain(row.get("captions")), row.get("image_url") or ""
    return chain, inside(photos, url.rpartition("/")[2])

  rows = parsed(path, record, "record")
  chains, images = [c for c, _ in rows], [image for _, image in rows]
  require(dict.fromkeys(images), WANTED)
  return Captions(chains, images)


def _of(data: Captions, images: Set[pathlib.Path]) -> Captions:
  """Selects the chains of some images."""
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
  """Measures distances from the root; CLIP's root is the empty caption.

  For Gaussians it is the distance of the means.
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
  """Returns the index of the greatest value so far, the first one on ties."""
  best = np.maximum.accumulate(scores, axis=1)
  record = np.ones(scores.shape, bool)
  record[:, 1:] = scores[:, 1:] > best[:, :-1]
  columns = np.arange(scores.shape[1])[None]
  return np.maximum.accumulate(np.where(record, columns, 0), axis=1)


TASKS = (Task("hierarcaps", within("hierarcaps", hierarcaps), {}),)
