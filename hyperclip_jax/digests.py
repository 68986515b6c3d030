"""Digests of a folder's files, kept in the folder: they tell what was damaged.

Files are compared, not arrays, so a damaged one is found before any parser
reads it, on any number of devices or none.
"""

import hashlib
import json
import pathlib

FILE = "digests.json"


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

  Files that came later are none of its business.
  """
  try:
    wanted = json.loads((folder / FILE).read_text(encoding="utf-8"))
  except FileNotFoundError:
    return f"there is no {FILE}: it was never finished, or is a stranger's"
  except (OSError, ValueError) as error:
    return f"{FILE} cannot be read: {error}"
  if not isinstance(wanted, dict) or not wanted:
    return f"{FILE} is not as it was written"
  for name, digest in wanted.items():
    try:
      found = _digest(folder / name)
    except OSError as error:
      return f"{name} cannot be read: {error.strerror}"
    if found != digest:
      return f"{name} is not as it was written: {found}, was {digest}"
  return None


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  return f"{path.stat().st_size} bytes, sha256 {digest}"
