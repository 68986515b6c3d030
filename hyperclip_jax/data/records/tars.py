"""The members of a tar: where each lies, and which belong to one record.

Nothing is ever extracted, so a member's name is only a name: `../../x` or
`/etc/x` cannot reach the file system.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from hyperclip_jax.data.records import storage

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
  """Yields (key, suffix -> member) of each group of a tar.

  A group is a run of members of one key, as webdataset writes and reads them.
  A later run of the same key belongs to the group as well (`find`, `cp -r` and
  `tar` in the order of a file system write members apart), unless it brings a
  suffix that the group has: it begins another group of that key, and so does a
  suffix that comes twice in a run. Groups come in the order of their first
  members. Suffixes are lower-cased. Links, devices, directories, sparse files
  and names without a key or a suffix are skipped.

  Raises:
    ValueError: no tar, or a damaged or truncated one.
  """
  found: list[tuple[str, dict[str, Member]]] = []
  newest: dict[str, dict[str, Member]] = {}  # group of each key
  for key, run in _runs(path):
    group = newest.get(key)
    if group is None or not group.keys().isdisjoint(run):
      newest[key] = run
      found.append((key, run))
    else:
      group |= run
  yield from found


def _runs(path: str) -> Iterator[tuple[str, dict[str, Member]]]:
  """Yields the key and members of each stretch of a tar with one key."""
  last, run = None, {}
  for name, member in _walk(path):
    match = _NAME.fullmatch(name)
    if match is None:
      continue
    key, suffix = match[1], match[2].lower()
    if key != last or suffix in run:
      if run:
        yield str(last), run
      last, run = key, {}
    run[suffix] = member
  if run:
    yield str(last), run


def _walk(path: str) -> Iterator[tuple[str, Member]]:
  """Yields the name and place of each regular member of a file of tars.

  A file may hold several tars, as `cat` joins them.
  """
  size = storage.size(path)
  start: int | None = 0  # of the tar
  position = 0  # of what is read
  with open(path, "rb") as file:
    try:
      while start is not None:
        file.seek(start)
        position = start
        with tarfile.open(fileobj=file, mode="r:", errors=_ERRORS) as tar:
          for member in tar:
            if member.offset_data <= position:
              raise tarfile.ReadError("a header that points backwards")
            position = member.offset_data
            if member.isreg() and not member.issparse() and member.size < 2**32:
              yield member.name, Member(path, position, member.size)
          # tarfile takes a header that is cut or garbled for the end.
          if start and tar.offset == start:
            raise tarfile.ReadError("bytes after the end that are no tar")
          position = tar.offset
        start = _next_start(file, position)
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:
      # The last two: a garbled header may claim a member of any size.
      if position == 0:
        file.seek(0)
        raise ValueError(
          f"{path}: not a tar (begins with {file.read(8)!r}); want an "
          "uncompressed one"
        ) from error
      raise ValueError(
        f"{path}: damaged or truncated tar near offset {position} of "
        f"{size} bytes ({error}); fetch or write it again"
      ) from error


def _next_start(file: BinaryIO, end: int) -> int | None:
  """Where the tar after the one that ends at `end` starts; None without one.

  Raises:
    tarfile.ReadError: it does not end there, by zeros to the end of the file or
      by two blocks of zeros at least. One block is a header that was lost.
  """
  file.seek(end)
  zeros, rest = 0, b""
  while not rest and (chunk := file.read(2**20)):
    rest = chunk.lstrip(b"\0")
    zeros += len(chunk) - len(rest)
  if zeros < BLOCK:
    raise tarfile.ReadError("no end-of-archive block")
  if not rest:
    return None
  blocks = zeros // BLOCK
  if blocks < 2:
    raise tarfile.ReadError("a single block of zeros")
  return end + blocks * BLOCK
