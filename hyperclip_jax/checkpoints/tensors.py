"""Reads and writes safetensors files; untrusted headers are checked first."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from hyperclip_jax.checkpoints import file_kinds
from hyperclip_jax.files import shown, write_whole

MAX_HEADER = 10_000_000  # bytes; that of a ViT-L has about 5,000


def write(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  metadata: dict[str, str],
) -> None:
  """Writes named arrays and string metadata atomically.

  Args:
    path: file to write; its folder is created if missing.
    arrays: arrays by name.
    metadata: further strings by name.

  Raises:
    OSError: the file cannot be written, such as for lack of disk space.
  """
  dense = {name: np.asarray(a, order="C") for name, a in arrays.items()}
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, safetensors.numpy.save(dense, metadata))


def dtype_name(dtype: Any) -> str:
  """Names a dtype as the header of such a file does, "F32" for float32."""
  kinds = {
    "float": "F",
    "bfloat": "BF",
    "int": "I",
    "uint": "U",
    "bool": "BOOL",
  }
  name = np.dtype(dtype).name
  kind = name.rstrip("0123456789")
  return kinds.get(kind, kind) + name.removeprefix(kind)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
  """Context manager that yields a `safetensors.safe_open` handle.

  Only the header is read; arrays are read on demand.

  Args:
    path: file to read; it may be untrusted.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: it is not a safetensors file, or its header does not match its
      size.
  """
  absent = file_kinds.absent(path)
  if absent:
    raise ValueError(f"{path}: {absent}")
  with path.open("rb") as file:
    claimed = int.from_bytes(file.read(8), "little")
  size = path.stat().st_size
  if claimed > min(MAX_HEADER, size - 8):
    raise ValueError(
      f"{path}: not a safetensors file: a header of {claimed:,} bytes in a "
      f"file of {size:,} (at most {MAX_HEADER:,})"
    )
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      yield file
  except safetensors.SafetensorError as error:
    reason = shown(error)
    if "not fully covered" in reason:
      reason = f"truncated ({reason}): {file_kinds.AGAIN}"
    raise ValueError(f"{path}: not a safetensors file: {reason}") from error
