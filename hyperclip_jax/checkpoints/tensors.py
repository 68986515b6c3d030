"""safetensors files from anyone: sizes are checked before anything is made."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from hyperclip_jax.checkpoints import file_kinds
from hyperclip_jax.files import shown, write_whole

MAX_HEADER = 10_000_000  # bytes; a ViT-L takes about 5,000


def write(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  metadata: dict[str, str],
) -> None:
  """Writes named arrays and string metadata, whole or not at all.

  Args:
    path: file to write; its folder is made where it is missing.
    arrays: arrays by name.
    metadata: what else to keep.

  Raises:
    OSError: it cannot be written, such as for want of room.
  """
  dense = {name: np.asarray(a, order="C") for name, a in arrays.items()}
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, safetensors.numpy.save(dense, metadata))


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
  """A `safetensors.safe_open` handle; nothing but the header is read yet.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no safetensors file, or its header lies about its size.
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
