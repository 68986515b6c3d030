"""Reads folders of images, one folder for each class: DIR/CLASS/*.jpg.

The caption of an image is the name of its class, the path of its folder below
DIR (a/abbey, where classes are nested). Hidden files and folders, and those
left by file managers and archivers, are ignored, and so are files that are not
images. Images are in a fixed order that mixes the classes, so that the first
records of a shard are a sample of all.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterator

from hyperclip_jax import files
from hyperclip_jax.data.prepare import tables
from hyperclip_jax.data.prepare.tables import Row, Table
from hyperclip_jax.data.records import images

CLUTTER = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
_CAPTIONS = (".txt", ".json")  # of img2dataset, beside the images


def has_classes(path: str) -> bool:
  """Checks whether a folder has images in two folders or more, and none itself.

  Args:
    path: folder, or anything else.

  Returns:
    Whether it is a folder of classes. A folder whose images have captions in
    files beside them is none.
  """
  classes, top = set(), pathlib.Path(path)
  for folder, names in _walk(top):
    if any(name.lower().endswith(images.SUFFIXES) for name in names):
      if folder == top or any(name.endswith(_CAPTIONS) for name in names):
        return False
      classes.add(folder)
      if len(classes) > 1:
        return True
  return False


def cut(path: str, shard_size: int) -> list[Table]:
  """Lists the images of a folder of classes, and splits them into inputs.

  Args:
    path: folder for which `has_classes` holds.
    shard_size: number of images in each input.

  Returns:
    Inputs, one for each shard.

  Raises:
    ValueError: images lie in the folder itself, and so have no class.
  """
  top, rows = pathlib.Path(path), []
  for folder, names in _walk(top):
    found = [name for name in names if name.lower().endswith(images.SUFFIXES)]
    if found and folder == top:
      raise ValueError(
        f"{files.shown(path)}: {len(found):,} images, such as "
        f"{files.shown(found[0])}, have no class; move each into the folder "
        "of its class"
      )
    name = folder.relative_to(top)
    rows += [Row(str(name / one), name.as_posix()) for one in found]
  return tables.split(path, path, sorted(rows, key=_place), shard_size)


def is_kept(name: str) -> bool:
  """Checks that a file or folder is neither hidden nor some tool's own."""
  return not name.startswith(".") and name not in CLUTTER


def _walk(top: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
  """Yields each folder, and the names of the files in it."""
  for folder, below, names in os.walk(top):
    below[:] = sorted(filter(is_kept, below))
    yield pathlib.Path(folder), sorted(filter(is_kept, names))


def _place(row: Row) -> bytes:
  return hashlib.sha256(os.fsencode(row.image)).digest()
