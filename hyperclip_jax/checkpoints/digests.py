"""Digests of a folder's files, kept in the folder, to find damage.

Files are compared, not arrays, so a damaged one is found before any parser
reads it, on any number of devices or none. The folder may be a stranger's:
files that it names elsewhere are not opened.
"""

import hashlib
import json
import pathlib

from hyperclip_jax.files import file_in, inside, read_json, shown

FILE = "digests.json"
LARGEST = 2**26  # bytes of FILE


def write(folder: pathlib.Path, items: tuple[str, ...]) -> None:
  """Writes the size and SHA-256 of each file under `folder`'s `items`."""
  found = {
    path.relative_to(folder).as_posix(): _digest(path)
    for item in items
    for path in sorted((folder / item).rglob("*"))
    if path.is_file()
  }
  (folder / FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def problem(folder: pathlib.Path) -> str | None:
  """What is wrong with the first file that is not as it was written, or None.

  Files that came later do not count.
  """
  try:
    wanted = read_json(folder / FILE, LARGEST)
  except FileNotFoundError:
    return f"there is no {FILE}: its save never finished, or it is foreign"
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
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  return f"{path.stat().st_size} bytes, sha256 {digest}"
