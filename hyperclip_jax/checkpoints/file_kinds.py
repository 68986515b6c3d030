"""What a file is that was given, or arrived, in place of a model's.

Files are known by their first bytes; no parser sees them, and no PyTorch is
imported.
"""

import os
import pathlib
import zipfile

HEAD = 4096  # bytes looked at
LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html", b"<?xml")
# What torch.save wrote before PyTorch 1.6: a pickled number of its own.
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
ZIP = b"PK\x03\x04"

AGAIN = "download or copy it again"
KINDS = {
  OLD_TORCH: "a PyTorch file of before 1.6: torch.save it again by a newer one",
  b"\xff\xd8\xff": "an image, not a model",
  b"\x89PNG": "an image, not a model",
  b"GIF8": "an image, not a model",
  b"\x89HDF": "an HDF5 file, which is not read",
  b"\x93NUMPY": "a NumPy array, not a model",
  b"\x1f\x8b": "compressed by gzip: gunzip it",
  b"\x80": "a pickle, which can run any code: nothing in it was run",
}


def absent(path: pathlib.Path) -> str | None:
  """What lies in place of a file whose content never arrived, or None.

  Args:
    path: file of any kind.

  Raises:
    OSError: it cannot be read.
    ValueError: it is a folder, pipe or device.
  """
  return _absent(_head(path))


def mistaken(path: pathlib.Path) -> str | None:
  """What a file is that is no PyTorch checkpoint, or None if it may be one.

  Args:
    path: file that was given as a model.

  Raises:
    OSError, ValueError: as `absent`.
  """
  head = _head(path)
  known = _absent(head) or next(
    (kind for start, kind in KINDS.items() if head.startswith(start)), None
  )
  if known:
    return known
  if head[257:262] == b"ustar":
    return "a tar archive, not a model"
  if b'"hyperclip-jax index' in head:
    return "an index, not a model: read it by Index.load or --index"
  length = int.from_bytes(head[:8], "little")
  if head[8:9] == b"{" and length <= os.path.getsize(path):
    return (
      "a safetensors file, such as the weights of a released model: give the "
      "folder that holds it and its config.json"
    )
  if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
    return "JSON, such as the config.json of a model: give its folder"
  if not head.startswith(ZIP):
    return (
      "neither an archive of torch.save nor another file that is known here"
    )
  if not zipfile.is_zipfile(path):
    return f"truncated, as the end of its archive is missing: {AGAIN}"
  return None


def _absent(head: bytes) -> str | None:
  if not head:
    return f"empty: {AGAIN}"
  if head.startswith(LFS):
    return "a Git LFS pointer, not the file it stands for: run git lfs pull"
  if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
    return f"an HTML page, such as of an error or a login: {AGAIN}"
  return None


def _head(path: pathlib.Path) -> bytes:
  if path.exists() and not path.is_file():  # a pipe would be waited for
    raise ValueError(f"{path}: not a regular file")
  with path.open("rb") as file:
    return file.read(HEAD)
