"""Writes scenes of emoji as raw GRIT tars.

A folder holds `train/` (scenes of Noto, Twemoji and, where `resvg_py` is
installed, OpenMoji), `val/` and `objects/` of Fluent, which training never sees
(scenes; and each concept alone, with `label` and `held_out` in its JSON), and
`hierarchy.json` and `wordnet.json`, the trees above the concepts. One concept
in ten never occurs in `train`.

Emoji are clean drawings on simple grounds: results say whether names and a
hierarchy survive a change of style, and nothing about photographs or clutter.

  hyperclip emoji --packages DIR --output DIR
"""

import os
import pathlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from hyperclip_jax.data.embedded import folder as folder_lib
from hyperclip_jax.data.emoji import concepts as concepts_lib
from hyperclip_jax.data.emoji import packages, scenes
from hyperclip_jax.data.emoji.concepts import Concept
from hyperclip_jax.data.emoji.scenes import Pictures

VERSION = 1  # raised by any change of the bytes written
UNSEEN = "fluent"
SEEN = ("noto", "twemoji")
DRAWN = "openmoji"


def generate(
  folder: str | os.PathLike[str],
  package_folder: str | os.PathLike[str],
  *,
  wordnet: str | os.PathLike[str] | None = None,
  openmoji: bool = False,
  train: int = 32_768,
  val: int = 1_024,
  image_size: int = 64,
  seed: int = 0,
  shard_size: int = 2_048,
) -> None:
  """Writes the data set; returns at once if it already exists.

  The same parameters and packages give the same bytes, and record i of a split
  does not depend on the size of the split.

  Args:
    folder: folder to create; it may exist if it is empty or complete.
    package_folder: folder with the tars of `packages.PACKAGES`.
    wordnet: folder of WordNet 3.0, or None for captions and trees without its
      nouns.
    openmoji: whether to train on OpenMoji, too, which `resvg_py` draws.
    train: number of training scenes, without the held-out concepts.
    val: number of scenes of all concepts, by the unseen vendor.
    image_size: side of the images in pixels, at least 32.
    seed: seed of all random numbers.
    shard_size: records in a tar, at most 10000.

  Raises:
    ValueError: a parameter is out of range, a package is not the one that was
      tested, or the folder holds the data set with other parameters or damaged.
    FileNotFoundError: a package or a file of WordNet is missing.
    FileExistsError: the folder holds other files.
    ImportError: `resvg_py` is missing.
  """
  paths = packages.find(package_folder)
  nouns = concepts_lib.hypernyms(pathlib.Path(wordnet)) if wordnet else None
  seen = (*SEEN, DRAWN) if openmoji else SEEN
  data = {name: packages.pictures(name, paths[name]) for name in seen}
  data[UNSEEN] = packages.pictures(UNSEEN, paths[UNSEEN])
  found = concepts_lib.concepts(
    packages.table(paths[DRAWN]), list(data.values()), nouns
  )
  manifest = {
    "generator": "emoji",
    "version": VERSION,
    "train": train,
    "val": val,
    "objects": len(found),
    "image_size": image_size,
    "seed": seed,
    "shard_size": shard_size,
    "vendors": list(seen),
    "wordnet": wordnet is not None,
    "packages": {name: packages.PACKAGES[name].name for name in paths},
  }
  if folder_lib.complete(pathlib.Path(folder).absolute(), manifest):
    return
  drawn = {
    name: {c.code: _picture(name, data[name][c.code]) for c in found}
    for name in data
  }
  folder_lib.write(
    folder,
    manifest,
    lambda split, index: record(split, index, found, drawn, image_size, seed),
    {
      "hierarchy.json": concepts_lib.hierarchy(found),
      "wordnet.json": concepts_lib.wordnet(found),
    },
  )


def record(
  split: str,
  index: int,
  found: Sequence[Concept],
  drawn: Mapping[str, Pictures],
  image_size: int,
  seed: int,
) -> tuple[bytes, dict[str, Any]]:
  """Makes one record from random numbers of its own.

  Args:
    split: "train", "val" or "objects".
    index: number of the record in its split.
    found: all concepts.
    drawn: pictures of each vendor.
    image_size: side of the image in pixels.
    seed: seed of the data set.

  Returns:
    JPEG and JSON of the record; the JSON lacks the key.
  """
  rng = random.Random(f"{seed}/{split}/{index}")
  vendor, pool = UNSEEN, found
  if split == "train":
    vendor = rng.choice([name for name in drawn if name != UNSEEN])
    pool = [concept for concept in found if not concept.held_out]
  if split == "objects":
    chosen = [found[index]]
  else:
    count = rng.choices(list(scenes.COUNTS), list(scenes.COUNTS.values()))[0]
    chosen = rng.sample(pool, count)
  jpeg, meta = scenes.scene(rng, chosen, drawn[vendor], image_size)
  meta |= {"url": f"emoji:{split}/{index}", "id": index, "vendor": vendor}
  if split == "objects":
    meta |= {"label": chosen[0].name, "held_out": chosen[0].held_out}
  return jpeg, meta


def _picture(vendor: str, data: bytes):
  if vendor != DRAWN:
    return scenes.picture(data)
  import resvg_py  # optional: only where OpenMoji is asked for

  size = 8 * scenes.LEAST
  png = resvg_py.svg_to_bytes(svg_string=data.decode("utf-8"), width=size)
  return scenes.picture(bytes(png))
