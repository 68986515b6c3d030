"""Reads the headers of a tar, and groups its members into records.

Nothing is ever extracted, so a member's name is only a label: `../../x` or
`/etc/x` cannot reach the file system.
"""

import contextlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, NamedTuple

from hyperclip_jax.data.records import storage

BLOCK = tarfile.BLOCKSIZE

# webdataset's rule: key up to the first dot of the base name, then suffix
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)", re.DOTALL)
_ERRORS = "backslashreplace"  # keeps distinct names that are not UTF-8


class Member(NamedTuple):
  """A range of bytes in a shard."""

  path: str
  offset: int
  size: int

  def read(self) -> bytes:
    """Reads the bytes; safe from any thread.

    Raises:
      OSError: they cannot be read, or the file was truncated.
    """
    data = storage.read(self.path, self.offset, self.size)
    if len(data) != self.size:
      raise OSError(
        f"{self.path}: found {len(data)} of {self.size} bytes at offset "
        f"{self.offset}; the file was truncated or changed after it was indexed"
      )
    return data


def key(header: bytes) -> str:
  """Parses the key from a member's header, which may truncate a long one.

  Raises:
    tarfile.HeaderError: it is not a header.
  """
  if header[257:263] == b"ustar\0" and not header[345]:  # no prefix
    # nearly all headers; `frombuf` takes ten times longer
    name = header[:100].partition(b"\0")[0].decode("utf-8", _ERRORS)
  else:
    name = tarfile.TarInfo.frombuf(header, "utf-8", _ERRORS).name
  match = _NAME.fullmatch(name)
  return match[1] if match else name


@contextlib.contextmanager
def writing(
  file: IO[bytes] | io.BytesIO,
) -> Iterator[Callable[[str, bytes], None]]:
  """Writes a tar, whose bytes depend on nothing but names and content.

  The format is ustar, and times and owners are zero.

  Args:
    file: file to write to.

  Yields:
    Function that adds a member of a name and a content.
  """
  with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:

    def add(name: str, content: bytes) -> None:
      info = tarfile.TarInfo(name)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))

    yield add


def groups(path: str) -> Iterator[tuple[str, dict[str, Member]]]:
  """Yields (key, suffix -> member) of each group of members of a tar.

  A group is a run of members with one key, as in webdataset. A later run of the
  same key is added to the group (`find`, `cp -r` and `tar` in file-system order
  write members apart), unless it repeats a suffix of the group: then it starts
  another group of that key, as does a suffix repeated within a run. Groups come
  in the order of their first members. Suffixes are lower-cased. Links, devices,
  directories, sparse files and names without a key or a suffix are skipped.

  Args:
    path: tar file.

  Yields:
    Key, and members by suffix.

  Raises:
    ValueError: it is not a tar, damaged or truncated.
  """
  found: list[tuple[str, dict[str, Member]]] = []
  newest: dict[str, dict[str, Member]] = {}  # latest group of each key
  for key, run in _runs(path):
    group = newest.get(key)
    if group is None or not group.keys().isdisjoint(run):
      newest[key] = run
      found.append((key, run))
    else:
      group |= run
  yield from found


def _runs(path: str) -> Iterator[tuple[str, dict[str, Member]]]:
  """Yields key and members of each run of members with one key."""
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
  """Yields the name and location of each regular member.

  A file may hold several tars, concatenated by `cat`.
  """
  size = storage.size(path)
  start: int | None = 0  # offset of the tar
  position = 0  # offset of the last header or member read
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
          # tarfile takes a damaged header for the end of the tar
          if start and tar.offset == start:
            raise tarfile.ReadError("bytes after the end that are not a tar")
          position = tar.offset
        start = _next_start(file, position)
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:
      # the last two: a damaged header may claim a member of any size
      if position == 0:
        file.seek(0)
        raise ValueError(
          f"{path}: not a tar (starts with {file.read(8)!r}); want an "
          "uncompressed one"
        ) from error
      raise ValueError(
        f"{path}: damaged or truncated tar near offset {position} of "
        f"{size} bytes ({error}); download or write it again"
      ) from error


def _next_start(file: BinaryIO, end: int) -> int | None:
  """Returns the start of a further tar in the same file, or None.

  Raises:
    tarfile.ReadError: the tar does not end in zeros to the end of the file or
      in at least two blocks of zeros. A single block is a lost header.
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
