"""The members of a tar: where each lies, and which belong to one record.

Nothing is ever extracted, so a member's name is only a name: `../../x` or
`/etc/x` cannot reach the file system.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from hyperclip_jax.data import storage

BLOCK = tarfile.BLOCKSIZE

# webdataset's rule: up to the first dot of the base name, and what follows it.
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)", re.DOTALL)
_ERRORS = "backslashreplace"  # keeps names that are not UTF-8 apart


class Member(NamedTuple):
  """A stretch of bytes in a shard."""

  path: str
  offset: int
  size: int

  def read(self) -> bytes:
    """Reads the bytes; any thread may call it."""
    data = storage.read(self.path, self.offset, self.size)
    if len(data) != self.size:
      raise OSError(
        f"{self.path}: found {len(data)} of {self.size} bytes at offset "
        f"{self.offset}; the file was cut or changed after it was indexed"
      )
    return data


def key(header: bytes) -> str:
  """The key that a member's header tells; a long one may come out cut.

  Raises:
    tarfile.HeaderError: it is no header.
  """
  if header[257:263] == b"ustar\0" and not header[345]:  # no prefix
    # What nearly all are; `frombuf` takes ten times longer.
    name = header[:100].partition(b"\0")[0].decode("utf-8", _ERRORS)
  else:
    name = tarfile.TarInfo.frombuf(header, "utf-8", _ERRORS).name
  match = _NAME.fullmatch(name)
  return match[1] if match else name


def groups(path: str) -> Iterator[tuple[str, dict[str, Member]]]:
  """Yields (key, suffix -> member) of each group of a tar, in order.

  A group is a run of members of one key, as webdataset writes and reads them.
  A key that comes back later, or a suffix that comes twice in a run, begins
  another group of that key: members of two groups are never mixed. Suffixes
  are lower-cased. Links, devices, directories, sparse files and names without
  a key or a suffix are skipped.

  Raises:
    ValueError: no tar, or a damaged or truncated one.
  """
  last, group = None, {}
  for name, member in _walk(path):
    match = _NAME.fullmatch(name)
    if match is None:
      continue
    key, suffix = match[1], match[2].lower()
    if key != last or suffix in group:
      if group:
        yield str(last), group
      last, group = key, {}
    group[suffix] = member
  if group:
    yield str(last), group


def _walk(path: str) -> Iterator[tuple[str, Member]]:
  """Yields the name and place of each regular member of a tar."""
  position = 0
  try:
    with tarfile.open(path, "r:", errors=_ERRORS) as tar:
      for member in tar:
        if member.offset_data <= position:
          raise tarfile.ReadError("a header that points backwards")
        position = member.offset_data
        if member.isreg() and not member.issparse() and member.size < 2**32:
          yield member.name, Member(path, position, member.size)
      # tarfile takes a header that is cut or garbled for the end of the tar.
      position = tar.offset
      _check_end(tar, position)
  except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:
    # The last two: a garbled header may claim a member of any size.
    if position == 0:
      with open(path, "rb") as file:
        head = file.read(8)
      raise ValueError(
        f"{path}: not a tar (begins with {head!r}); want an uncompressed one"
      ) from error
    raise ValueError(
      f"{path}: damaged or truncated tar near offset {position} of "
      f"{os.path.getsize(path)} bytes ({error}); fetch or write it again"
    ) from error


def _check_end(tar: tarfile.TarFile, offset: int) -> None:
  """Raises unless the tar ends at this offset with a block of zeros."""
  assert tar.fileobj is not None
  tar.fileobj.seek(offset)
  if tar.fileobj.read(BLOCK) != bytes(BLOCK):
    raise tarfile.ReadError("no end-of-archive block")
