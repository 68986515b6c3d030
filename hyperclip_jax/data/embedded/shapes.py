"""The embedded data set: grounded scenes of coloured shapes, as raw GRIT tars.

A scene has one to three objects, each a shape of a family in a colour, a size
and a texture. Its caption varies in wording; noun phrases and referring
expressions have boxes, and a quarter of them use general terms ("a round
shape", "a red thing"). The shards have the layout that img2dataset gives GRIT
(Peng et al., "Kosmos-2", 2023), so the default data are read by the same code
as real data.

A folder holds `train/` and `val/` (scenes), `objects/` (one object each,
balanced over the leaf classes, with `label` and `held_out` in their JSON),
`hierarchy.json`, `manifest.json` and `digests.json`. Twelve of the 96 leaf
classes, one for each shape, never occur in `train`.

  hyperclip shapes --output DIR
"""

import io
import os
import random

from hyperclip_jax.data.embedded import folder as folder_lib
from hyperclip_jax.data.embedded.captions import FAMILIES, FAMILY, Caption
from hyperclip_jax.data.embedded.draw import COLOURS, arrange, render

VERSION = 1  # raised by any change of the bytes written
ROOT = "thing"
LEAVES = tuple(f"{colour} {shape}" for shape in FAMILY for colour in COLOURS)
# One colour for each shape; the step spreads them over the colours.
HELD_OUT = frozenset(
  f"{list(COLOURS)[3 * i % len(COLOURS)]} {shape}"
  for i, shape in enumerate(FAMILY)
)
SEEN = tuple(leaf for leaf in LEAVES if leaf not in HELD_OUT)
POOLS = {"train": SEEN, "val": LEAVES, "objects": LEAVES}


def hierarchy() -> dict[str, tuple[str, ...]]:
  """Returns the concept hierarchy: a tree with 96 leaves and depth 3.

  An example is thing -> round shape -> circle -> red circle. The only parent of
  a leaf is its shape. "red thing" is a hypernym too, which captions use, but as
  a second parent it would put all shapes of one colour two edges apart, and the
  tree-induced error could no longer tell near mistakes from far ones.

  Returns:
    Parents by node; the root has none.
  """
  parents: dict[str, tuple[str, ...]] = {ROOT: ()}
  parents |= dict.fromkeys(FAMILIES, (ROOT,))
  parents |= {shape: (family,) for shape, family in FAMILY.items()}
  return parents | {leaf: (leaf.split()[1],) for leaf in LEAVES}


def _record(
  split: str, index: int, image_size: int, seed: int
) -> tuple[bytes, dict]:
  """Makes one record from random numbers of its own.

  Returns:
    JPEG and JSON of the record; the JSON lacks the key.
  """
  rng = random.Random(f"{seed}/{split}/{index}")
  if split == "objects":
    leaves = [LEAVES[index % len(LEAVES)]]
  else:
    count = rng.choices((1, 2, 3), (60, 28, 12))[0]
    leaves = rng.sample(POOLS[split], count)
  things = arrange(rng, leaves)
  caption = Caption(rng, things)
  jpeg = io.BytesIO()
  image = render(rng, things, image_size)
  image.save(jpeg, "jpeg", quality=92, subsampling=0)
  meta = {
    "caption": caption.text,
    "noun_chunks": caption.noun_chunks,
    "ref_exps": caption.ref_exps,
    "width": image_size,
    "height": image_size,
    "url": f"shapes:{split}/{index}",
    # Not computed: the caption is true by construction.
    "clip_similarity_vitb32": 1.0,
    "clip_similarity_vitl14": 1.0,
    "id": index,
  }
  if split == "objects":
    meta |= {"label": leaves[0], "held_out": leaves[0] in HELD_OUT}
  return jpeg.getvalue(), meta


def generate(
  folder: str | os.PathLike[str],
  *,
  train: int = 10_240,
  val: int = 512,
  objects: int = 960,
  image_size: int = 64,
  seed: int = 0,
  shard_size: int = 2_048,
) -> None:
  """Writes the data set; returns at once if it already exists.

  The same parameters give the same bytes, and record i of a split does not
  depend on the size of the split. See `folder.write`.

  Args:
    folder: folder to create; it may exist if it is empty or complete.
    train: number of training scenes, without the held-out leaf classes.
    val: number of scenes of all leaf classes.
    objects: number of scenes of one object; scene i is of LEAVES[i % 96].
    image_size: side of the images in pixels, at least 32.
    seed: seed of all random numbers.
    shard_size: records in a tar, at most 10000.

  Raises:
    ValueError: a parameter is out of range, or the folder holds the data set
      with other parameters or damaged.
    FileExistsError: the folder holds other files.
  """
  manifest = {
    "generator": "shapes",
    "version": VERSION,
    "train": train,
    "val": val,
    "objects": objects,
    "image_size": image_size,
    "seed": seed,
    "shard_size": shard_size,
  }
  folder_lib.write(
    folder,
    manifest,
    lambda split, index: _record(split, index, image_size, seed),
    {"hierarchy.json": hierarchy()},
  )
