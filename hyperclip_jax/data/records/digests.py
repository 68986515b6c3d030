"""Detects damage to the files of a folder by digests stored in the folder.

Digests are of files, not of arrays, so damage is found before any parser reads
a file, without devices. The folder may be untrusted: names that lead outside of
it are not opened.
"""

import json
import pathlib

from hyperclip_jax.files import file_in, inside, read_json, sha256, shown

FILE = "digests.json"
LARGEST = 2**26  # bytes of FILE that are read


def write(folder: pathlib.Path, items: tuple[str, ...]) -> None:
  """Writes the size and SHA-256 of each file to `FILE` in the folder.

  Args:
    folder: folder of the files.
    items: names of the subfolders to cover, with all that they contain.
  """
  found = {
    path.relative_to(folder).as_posix(): _digest(path)
    for item in items
    for path in sorted((folder / item).rglob("*"))
    if path.is_file()
  }
  (folder / FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def problem(folder: pathlib.Path) -> str | None:
  """Describes the first file that differs from its digest, or returns None.

  Files that were added later are ignored.
  """
  try:
    wanted = read_json(folder / FILE, LARGEST)
  except FileNotFoundError:
    return f"{FILE} is missing: the save did not finish, or it is no checkpoint"
  except (OSError, ValueError) as error:
    return f"{FILE} cannot be read: {shown(error)}"
  if not isinstance(wanted, dict) or not wanted:
    return f"{FILE} is not as it was written"
  for name, digest in wanted.items():
    try:
      path = inside(folder, name)
      path.lstat()
      if file_in(folder, path) is None:
        return f"{shown(name)} is no regular file inside the folder"
      found = _digest(path)
    except ValueError as error:
      return f"{FILE} is not as it was written: {error}"
    except OSError as error:
      return f"{shown(name)} cannot be read: {error.strerror}"
    if found != digest:
      return (
        f"{shown(name)} is not as it was written: {found}, was {shown(digest)}"
      )
  return None


def _digest(path: pathlib.Path) -> str:
  return f"{path.stat().st_size} bytes, sha256 {sha256(path)}"
