"""Recognises files that were given, or downloaded, instead of a model.

Files are recognised by their first bytes. No parser reads them, and PyTorch is
not imported.
"""

import contextlib
import os
import pathlib
import zipfile

HEAD = 4096  # bytes to read
LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html", b"<?xml")
# before PyTorch 1.6, torch.save wrote a pickled magic number first
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
ZIP = b"PK\x03\x04"

AGAIN = "download or copy it again"
SCRIPT = (  # such as OpenAI's files of CLIP
  "TorchScript, which holds code and is not read: save its tensors first, by "
  "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
)
KINDS = {
  OLD_TORCH: "a file of PyTorch before 1.6: save it again with a newer one",
  b"\xff\xd8\xff": "an image, not a model",
  b"\x89PNG": "an image, not a model",
  b"GIF8": "an image, not a model",
  b"\x89HDF": "an HDF5 file, which is not supported",
  b"\x93NUMPY": "a NumPy array, not a model",
  b"\x1f\x8b": "compressed by gzip: gunzip it",
  b"\x80": "a pickle, which can run any code: nothing in it was run",
}


def absent(path: pathlib.Path) -> str | None:
  """Describes a placeholder in place of a file's content.

  Args:
    path: file of any kind.

  Returns:
    What the file is (empty, a Git LFS pointer, an HTML page) and what to do, or
    None if it has content.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is a folder, pipe or device.
  """
  return _absent(_head(path))


def mistaken(path: pathlib.Path) -> str | None:
  """Describes a file that is not a PyTorch checkpoint.

  Args:
    path: file that was given as a model.

  Returns:
    What the file is and what to do, or None if it may be a checkpoint.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is a folder, pipe or device.
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
    return "an index, not a model: read it with Index.load or --index"
  length = int.from_bytes(head[:8], "little")
  if head[8:9] == b"{" and length <= os.path.getsize(path):
    return (
      "a safetensors file, such as the weights of a released model: give the "
      "folder that contains it and its model.json"
    )
  if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
    return "JSON, such as the model.json of a model: give its folder"
  if not head.startswith(ZIP):
    return "neither an archive of torch.save nor any other known kind of file"
  if not zipfile.is_zipfile(path):
    return f"truncated, as the end of its archive is missing: {AGAIN}"
  return SCRIPT if _is_script(path) else None


def _is_script(path: pathlib.Path) -> bool:
  """Whether an archive is one of TorchScript, by the names in it."""
  # hostile bytes raise nearly anything
  with contextlib.suppress(Exception), zipfile.ZipFile(path) as file:
    return any(name.endswith("/constants.pkl") for name in file.namelist())
  return False


def _absent(head: bytes) -> str | None:
  if not head:
    return f"empty: {AGAIN}"
  if head.startswith(LFS):
    return "a Git LFS pointer, not the file it stands for: run git lfs pull"
  if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
    return f"an HTML page, such as of an error or a login: {AGAIN}"
  return None


def _head(path: pathlib.Path) -> bytes:
  if path.exists() and not path.is_file():  # reading a pipe would block
    raise ValueError(f"{path}: not a regular file")
  with path.open("rb") as file:
    return file.read(HEAD)
