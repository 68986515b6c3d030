"""Loads the indices of many tars in parallel, and builds missing ones."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from absl import logging

from hyperclip_jax.data.records import index as index_lib
from hyperclip_jax.data.records import storage
from hyperclip_jax.data.records.offsets import Index

# Number of tars without an index from which several processes build them.
MANY = 64

READERS = 8  # threads that read index files

# program of such a process, with arguments FOLDER SPARE TAR...
_WALK = f"import sys; from {__name__} import walk; walk(*sys.argv[1:])"

T = TypeVar("T")


def find(
  paths: Sequence[str], folder: str
) -> list[Index | ValueError | OSError]:
  """Loads or builds the index of each tar.

  Args:
    paths: tar files.
    folder: folder of the index files; beside the tars if empty.

  Returns:
    Index of each tar, or the error if the tar is bad.

  Raises:
    OSError: no more files can be opened.
  """
  with ThreadPoolExecutor(READERS) as pool:
    found = list(pool.map(lambda path: _kept(path, folder), paths))
  missing = [p for p, index in zip(paths, found, strict=True) if index is None]
  made = _made(missing, folder)
  pairs = zip(paths, found, strict=True)
  return [made[path] if index is None else index for path, index in pairs]


def _made(
  paths: Sequence[str], folder: str
) -> dict[str, Index | ValueError | OSError]:
  """Builds and saves indices; warns once if some cannot be saved."""
  made: dict[str, Index | ValueError | OSError] = {}
  unkept: list[tuple[str, OSError]] = []
  with tempfile.TemporaryDirectory() as spare:
    many = len(paths) >= MANY
    if many:
      _walk_by_processes(paths, folder, spare)
    for path in paths:
      index = _kept(path, folder) if many else None
      if index is None:
        index = _kept(path, spare) if many else None
        index = _tried(path, index_lib.build) if index is None else index
        if isinstance(index, Index) and (
          error := index_lib.keep(index, folder)
        ):
          unkept.append((path, error))
      made[path] = index
  if unkept:
    index_lib.warn_unkept([path for path, _ in unkept], unkept[0][1])
  return made


def _walk_by_processes(paths: Sequence[str], folder: str, spare: str) -> None:
  """Builds the index files of many tars, in a spare folder if necessary.

  Failures are not reported: the caller finds the file missing.
  """
  count = os.cpu_count() or 1
  logging.warning("indexing %d tars by %d processes", len(paths), count)
  command = [sys.executable, "-c", _WALK, folder, spare]
  size = min(1000, -(-len(paths) // count))  # a command line has a limit
  chunks = [paths[i : i + size] for i in range(0, len(paths), size)]
  with ThreadPoolExecutor(count) as pool:
    list(pool.map(lambda chunk: _run([*command, *chunk]), chunks))


def walk(folder: str, spare: str, *paths: str) -> None:
  """Builds the index files of tars, and skips those that it cannot build.

  Args:
    folder: folder of the index files; beside the tars if empty.
    spare: folder for those that cannot be written there.
    *paths: tar files.
  """
  for path in paths:
    index = _kept(path, folder)
    if index is None:
      index = _tried(path, index_lib.build)
      if isinstance(index, Index) and index_lib.keep(index, folder):
        index_lib.keep(index, spare)


def _run(command: Sequence[str]) -> None:
  subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def _kept(path: str, folder: str) -> Index | ValueError | OSError | None:
  return _tried(path, lambda path: index_lib.cached(path, folder))


def _tried(path: str, get: Callable[[str], T]) -> T | ValueError | OSError:
  """Calls a function on a tar, and returns rather than raises its error."""
  try:
    return get(path)
  except (ValueError, OSError) as error:
    storage.raise_if_exhausted(error)
    return error
