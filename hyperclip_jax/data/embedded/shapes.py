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
import json
import os
import pathlib
import random
import tarfile
import tempfile
from collections.abc import Iterator

from hyperclip_jax import files
from hyperclip_jax.data.embedded.captions import FAMILIES, FAMILY, Caption
from hyperclip_jax.data.embedded.draw import COLOURS, arrange, render
from hyperclip_jax.data.records import digests

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


def _members(
  split: str, indices: range, shard: int, image_size: int, seed: int
) -> Iterator[tuple[str, bytes]]:
  for index in indices:
    jpeg, meta = _record(split, index, image_size, seed)
    meta["key"] = key = f"{shard:05d}{index - indices.start:04d}"
    yield f"{key}.jpg", jpeg
    yield f"{key}.json", json.dumps(meta).encode()
    yield f"{key}.txt", meta["caption"].encode()


def _write_split(
  folder: pathlib.Path,
  count: int,
  *,
  image_size: int,
  seed: int,
  shard_size: int,
) -> None:
  folder.mkdir()
  for shard, start in enumerate(range(0, count, shard_size)):
    indices = range(start, min(start + shard_size, count))
    members = _members(folder.name, indices, shard, image_size, seed)
    # ustar and zeroed times and owners: the same seed gives the same bytes.
    path = folder / f"{shard:05d}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
      for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def _validate(manifest: dict) -> None:
  least = {
    "train": 0,
    "val": 0,
    "objects": 0,
    "image_size": 32,
    "shard_size": 1,
  }
  for name, low in least.items():
    if manifest[name] < low:
      raise ValueError(f"{name} is {manifest[name]}; it must be >= {low}.")
  if manifest["shard_size"] > 10_000:
    raise ValueError(
      f"shard_size is {manifest['shard_size']}; keys have four digits within "
      "a shard, so it must be <= 10000."
    )


def _complete(folder: pathlib.Path, manifest: dict) -> bool:
  """Returns whether the folder already holds exactly this data set.

  Raises:
    ValueError: it holds one with other parameters, damaged or missing files, or
      a tar more.
    FileExistsError: it holds other files.
  """
  if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
    return False
  path = folder / "manifest.json"
  if not path.is_file():
    raise FileExistsError(
      f"{folder} exists and has no manifest.json; give a new or empty folder."
    )
  found = files.read_json(path)
  if found == manifest:
    _check_extra(folder, manifest)
    trouble = digests.problem(folder)
    if trouble is None:
      return True
    raise ValueError(
      f"{folder} is damaged: {trouble}. Remove the folder to have it made "
      "again."
    )
  if not isinstance(found, dict):
    raise FileExistsError(
      f"{path} is not part of this data set; give a new folder."
    )
  differing = ", ".join(
    f"{name} {found.get(name)} (wanted: {value})"
    for name, value in manifest.items()
    if found.get(name) != value
  )
  raise ValueError(
    f"{folder} holds shapes with other parameters: {differing}. Give another "
    "folder or remove this one."
  )


def _check_extra(folder: pathlib.Path, manifest: dict) -> None:
  """Raises ValueError for a tar that was added, as a run would read it."""
  for split in POOLS:
    count = -(-manifest[split] // manifest["shard_size"])
    ours = {f"{shard:05d}.tar" for shard in range(count)}
    found = {path.name for path in (folder / split).glob("*.tar")}
    if more := sorted(found - ours):
      raise ValueError(
        f"{folder} holds {split}/{files.shown(more[0])}, which is not part of "
        "the shapes; move it elsewhere"
      )


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
  depend on the size of the split. Files are written to a sibling folder, which
  is renamed at the end, so that a folder is complete or absent.

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
  folder = pathlib.Path(folder).absolute()
  sizes = {"image_size": image_size, "seed": seed, "shard_size": shard_size}
  counts = {"train": train, "val": val, "objects": objects}
  manifest = {"generator": "shapes", "version": VERSION, **counts, **sizes}
  _validate(manifest)
  if _complete(folder, manifest):
    return
  folder.parent.mkdir(parents=True, exist_ok=True)
  prefix = f".{folder.name}."
  with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temp:
    work = pathlib.Path(temp) / folder.name
    work.mkdir()
    for split, count in counts.items():
      _write_split(work / split, count, **sizes)
    (work / "hierarchy.json").write_text(json.dumps(hierarchy(), indent=1))
    (work / "manifest.json").write_text(json.dumps(manifest, indent=1))
    digests.write(work, ("",))
    try:
      work.rename(folder)
    except OSError:
      if not _complete(folder, manifest):  # another process may be first
        raise
