"""The index files of tars: where the records of each lie, kept beside it.

Readers make missing indices; `hyperclip index --shards=GLOB` makes them ahead.
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
  """The index of a tar, from its file if that is there and fits the tar.

  Otherwise the tar is walked and the file is written. Where that is not
  allowed the index stays in memory.

  Args:
    path: the tar.
    folder: for the file; beside the tar if empty.

  Raises:
    ValueError: no tar, a damaged or truncated one, or one of unknown layout.
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
  """Writes the index of a tar to its file; returns why it cannot be written."""
  try:
    save(index, file_of(index.path, folder))
  except OSError as error:
    storage.raise_if_exhausted(error)
    return error
  return None


def warn_unkept(paths: Sequence[str], error: OSError) -> None:
  """Says that the indices of some tars cannot be kept, and why."""
  logging.warning(
    "%s%s: cannot keep the index (%s); it is made again at every start unless "
    "config.data.index_folder names a folder that can be written",
    paths[0],
    f" and {len(paths) - 1} more tars" if len(paths) > 1 else "",
    error,
  )


def cached(path: str, folder: str = "") -> Index | None:
  """The index of a tar from its file; None if that is missing or in doubt.

  Raises:
    ValueError: the tar is no regular file.
    OSError: the tar cannot be read, or no more files can be opened.
  """
  size = storage.size(path)
  file = file_of(path, folder)
  try:
    # A tar has no more members than blocks; a larger file is no index of it.
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
  """Writes an index whole or not at all.

  Raises:
    OSError: it cannot be written.
  """
  words = np.append(index.words(), np.array(index.digest, WORD))
  folder = pathlib.Path(file).parent
  folder.mkdir(parents=True, exist_ok=True)
  # Hosts may write the same index at once. What a power cut leaves of it need
  # not be whole: the checksum tells.
  partial = folder / f".index-{uuid.uuid4().hex[:8]}"
  try:
    partial.write_bytes(words.tobytes())
    partial.replace(file)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def file_of(path: str, folder: str = "") -> str:
  """The index file of a tar."""
  if not folder:
    return path + SUFFIX
  # Shards of two data sets are often called alike.
  place = zlib.crc32(os.path.dirname(os.path.abspath(path)).encode())
  return os.path.join(folder, f"{place:08x}-{os.path.basename(path)}{SUFFIX}")
