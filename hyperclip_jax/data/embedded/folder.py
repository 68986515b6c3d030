"""Writes generated data sets: a folder is complete and unchanged, or refused.

A folder holds a subfolder of raw GRIT tars for each split, other files, such as
`hierarchy.json`, and `manifest.json` and `digests.json`.
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.data.records import digests, tars

Manifest = Mapping[str, Any]
Record = Callable[[str, int], tuple[bytes, dict[str, Any]]]
SPLITS = ("train", "val", "objects")
_LEAST = {"image_size": 32, "shard_size": 1}


def write(
  folder: str | os.PathLike[str],
  manifest: Manifest,
  record: Record,
  others: Mapping[str, Any],
) -> None:
  """Writes a data set; returns at once if it already exists.

  Files are written to a sibling folder, which is renamed at the end, so that a
  folder is complete or absent.

  Args:
    folder: folder to create; it may exist if it is empty or complete.
    manifest: parameters of the data set: "generator", its name; the numbers of
      records of SPLITS; "image_size" and "shard_size", at most 10000; and
      others.
    record: function of a split and an index that makes JPEG and JSON of a
      record, the JSON without a key.
    others: content of further JSON files by name.

  Raises:
    ValueError: a parameter is out of range, or the folder holds the data set
      with other parameters or damaged.
    FileExistsError: the folder holds other files.
  """
  folder = pathlib.Path(folder).absolute()
  _validate(manifest)
  if complete(folder, manifest):
    return
  folder.parent.mkdir(parents=True, exist_ok=True)
  prefix = f".{folder.name}."
  with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temp:
    work = pathlib.Path(temp) / folder.name
    work.mkdir()
    for split in SPLITS:
      _write_split(work / split, manifest, record)
    for name, content in {**others, "manifest.json": manifest}.items():
      (work / name).write_text(json.dumps(content, indent=1))
    digests.write(work, ("",))
    try:
      work.rename(folder)
    except OSError:
      if not complete(folder, manifest):  # another process may be first
        raise


def complete(folder: pathlib.Path, manifest: Manifest) -> bool:
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
    f"{name} {files.shown(found.get(name))} (wanted: {value})"
    for name, value in manifest.items()
    if found.get(name) != value
  )
  raise ValueError(
    f"{folder} holds {manifest['generator']} with other parameters: "
    f"{differing}. Give another folder or remove this one."
  )


def _check_extra(folder: pathlib.Path, manifest: Manifest) -> None:
  """Raises ValueError for a tar that was added, as a run would read it."""
  for split in SPLITS:
    count = -(-manifest[split] // manifest["shard_size"])
    ours = {f"{shard:05d}.tar" for shard in range(count)}
    found = {path.name for path in (folder / split).glob("*.tar")}
    if more := sorted(found - ours):
      raise ValueError(
        f"{folder} holds {split}/{files.shown(more[0])}, which is not part of "
        f"the {manifest['generator']}; move it elsewhere"
      )


def _validate(manifest: Manifest) -> None:
  for name, low in (dict.fromkeys(SPLITS, 0) | _LEAST).items():
    if manifest[name] < low:
      raise ValueError(f"{name} is {manifest[name]}; it must be >= {low}.")
  if manifest["shard_size"] > 10_000:
    raise ValueError(
      f"shard_size is {manifest['shard_size']}; keys have four digits within "
      "a shard, so it must be <= 10000."
    )


def _write_split(
  folder: pathlib.Path, manifest: Manifest, record: Record
) -> None:
  folder.mkdir()
  count, size = manifest[folder.name], manifest["shard_size"]
  for shard, start in enumerate(range(0, count, size)):
    indices = range(start, min(start + size, count))
    path = folder / f"{shard:05d}.tar"
    with path.open("wb") as file, tars.writing(file) as add:
      for name, data in _members(folder.name, indices, shard, record):
        add(name, data)


def _members(
  split: str, indices: range, shard: int, record: Record
) -> Iterator[tuple[str, bytes]]:
  for index in indices:
    jpeg, meta = record(split, index)
    meta["key"] = key = f"{shard:05d}{index - indices.start:04d}"
    yield f"{key}.jpg", jpeg
    yield f"{key}.json", json.dumps(meta).encode()
    yield f"{key}.txt", meta["caption"].encode()
