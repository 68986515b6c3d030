"""Index files of tars, which hold the offsets of their records.

Readers create missing indices; `hyperclip index --shards=GLOB` creates them
ahead of time.
"""

import os
import pathlib
import uuid
import zlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from hyperclip_jax.data.records import offsets, storage
from hyperclip_jax.data.records.offsets import WORD, Index, build
from hyperclip_jax.data.records.tars import BLOCK

SUFFIX = ".index"


def load(path: str, folder: str = "") -> Index:
  """Loads the index of a tar from its file, or builds and saves it.

  If the file cannot be written, the index stays in memory.

  Args:
    path: tar file.
    folder: folder of the index file; beside the tar if empty.

  Returns:
    Index of the tar.

  Raises:
    ValueError: it is not a tar, damaged or truncated, or of unknown layout.
    OSError: it cannot be read.
  """
  index = cached(path, folder)
  if index is None:
    index = build(path)
    error = keep(index, folder)
    if error is not None:
      warn_unkept([path], error)
  return index


def keep(index: Index, folder: str = "") -> OSError | None:
  """Saves the index of a tar if that is possible.

  Args:
    index: index to save.
    folder: folder of the index file; beside the tar if empty.

  Returns:
    The error if it cannot be written, else None.
  """
  try:
    save(index, file_of(index.path, folder))
  except OSError as error:
    storage.raise_if_exhausted(error)
    return error
  return None


def warn_unkept(paths: Sequence[str], error: OSError) -> None:
  """Logs that the indices of some tars cannot be saved.

  Args:
    paths: tar files.
    error: first error.
  """
  logging.warning(
    "%s%s: cannot save the index (%s); it is rebuilt at every start unless "
    "config.data.index_folder is a writable folder",
    paths[0],
    f" and {len(paths) - 1} more tars" if len(paths) > 1 else "",
    error,
  )


def cached(path: str, folder: str = "") -> Index | None:
  """Loads the index of a tar from its file.

  Args:
    path: tar file.
    folder: folder of the index file; beside the tar if empty.

  Returns:
    The index, or None if its file is missing, damaged or does not fit the tar.

  Raises:
    ValueError: the tar is not a regular file.
    OSError: the tar cannot be read, or no more files can be opened.
  """
  size = storage.size(path)
  file = file_of(path, folder)
  try:
    # A tar has fewer members than blocks: a larger file is not its index.
    if storage.size(file) > 4 * (offsets.HEADER + 2 + 3 * (size // BLOCK)):
      return None
    words = np.fromfile(file, WORD)
  except (OSError, ValueError) as error:
    storage.raise_if_exhausted(error)
    return None
  index = offsets.unpacked(path, words)
  if (
    index is None
    or index.size != size
    or index.tail != offsets.tail(path, size)
  ):
    return None
  return index


def save(index: Index, file: str) -> None:
  """Writes an index atomically.

  Args:
    index: index to save.
    file: path of the index file.

  Raises:
    OSError: it cannot be written.
  """
  words = np.append(index.words(), np.array(index.digest, WORD))
  folder = pathlib.Path(file).parent
  folder.mkdir(parents=True, exist_ok=True)
  # Hosts may write the same index at once. A file left incomplete by a power
  # cut is detected by its checksum.
  partial = folder / f".index-{uuid.uuid4().hex[:8]}"
  try:
    partial.write_bytes(words.tobytes())
    partial.replace(file)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def file_of(path: str, folder: str = "") -> str:
  """Returns the path of a tar's index file.

  Args:
    path: tar file.
    folder: folder of the index file; beside the tar if empty.

  Returns:
    Path, unique in `folder` for each tar.
  """
  if not folder:
    return path + SUFFIX
  # Shards of two data sets often have the same names.
  place = zlib.crc32(os.path.dirname(os.path.abspath(path)).encode())
  return os.path.join(folder, f"{place:08x}-{os.path.basename(path)}{SUFFIX}")
