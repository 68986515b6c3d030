"""The offset index of a tar: where the members of each record lie.

A tar is walked once, header by header; afterwards each member is one `pread`.
The index is kept in a file beside the tar and mapped into memory, so 20 million
records cost 400 MB that the processes of a machine share. Readers make missing
indices; `python -m hyperclip_jax.data.index PATH...` makes them ahead.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import tarfile
import tempfile
import zlib

import numpy as np
from absl import logging
from jaxtyping import UInt32

from hyperclip_jax.data import layouts, tars
from hyperclip_jax.data.layouts import LAYOUTS, Layout
from hyperclip_jax.data.record import RecordError
from hyperclip_jax.data.tars import BLOCK, Member

SUFFIX = ".index"
MAX_RECORD = 2**28  # bytes

# An index file is little-endian words: magic, layout, bytes of the tar (low,
# high), fingerprint, records, members, incomplete, repeated; then the arrays.
_MAGIC = int.from_bytes(b"HCI1", "little")
_WORD = np.dtype("<u4")
_HEADER = 9


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
  """Where the complete records of one tar lie, in the order of the tar.

  Offsets are in blocks of 512 bytes, since a tar aligns its members.

  Attributes:
    path: the tar.
    layout: of its records; an empty tar passes for raw.
    starts: (records + 1,); the members of record i are starts[i]:starts[i + 1].
    blocks: each member's first block; 0 stands for a missing one.
    sizes: each member's number of bytes.
    incomplete: groups left out as they lack a member (img2dataset leaves the
      JSON of a failed download).
    repeated: groups left out as their key came before.
  """

  path: str
  layout: Layout
  starts: UInt32[np.ndarray, " records_and_one"]
  blocks: UInt32[np.ndarray, " members"]
  sizes: UInt32[np.ndarray, " members"]
  incomplete: int
  repeated: int

  def __len__(self) -> int:
    return len(self.starts) - 1

  def members(self, record: int) -> dict[str, Member]:
    """The members of a record, by suffix."""
    return {
      suffix: Member(self.path, offset, size)
      for suffix, offset, size in self._places(record)
    }

  def read(self, record: int) -> tuple[str, dict[str, bytes]]:
    """The key of a record and the content of its members, by suffix.

    One read takes it all, for opening files is what network disks are slow at.
    The key comes from the first member's header, and one of more than 100
    characters may come out cut.

    Raises:
      RecordError: it is larger than any record should be.
      OSError: the tar cannot be read, or is not the one that was indexed.
    """
    places = self._places(record)
    start = min(offset for _, offset, _ in places) - BLOCK
    size = max(offset + size for _, offset, size in places) - start
    if size > MAX_RECORD:
      raise RecordError(
        f"{self.path}: record {record} at offset {start} has {size} bytes; "
        f"the most is {MAX_RECORD}"
      )
    data = Member(self.path, start, size).read()
    return self._key(data[:BLOCK]), {
      suffix: data[offset - start : offset - start + size]
      for suffix, offset, size in places
    }

  def key(self, record: int) -> str:
    """The key of a record, as `read` has it.

    Raises:
      OSError: the tar cannot be read, or is not the one that was indexed.
    """
    block = int(self.blocks[self.starts[record]])
    return self._key(Member(self.path, (block - 1) * BLOCK, BLOCK).read())

  def _places(self, record: int) -> list[tuple[str, int, int]]:
    """Suffix, offset and size of each member of a record."""
    first, end = self.starts[record : record + 2].tolist()
    rows = zip(
      self.layout.suffixes(end - first),
      self.blocks[first:end].tolist(),
      self.sizes[first:end].tolist(),
      strict=True,
    )
    return [(name, block * BLOCK, size) for name, block, size in rows if block]

  def _key(self, header: bytes) -> str:
    try:
      return tars.key(header)
    except tarfile.HeaderError as error:
      raise OSError(
        f"{self.path}: found no tar header where one was ({error}); the file "
        f"was changed after it was indexed, remove its {SUFFIX} file"
      ) from error


def load(path: str, folder: str = "") -> Index:
  """The index of a tar, from its file if that is there and fits the tar.

  Otherwise the tar is walked and the file is written. Where that is not
  allowed the index stays in memory.

  Args:
    path: the tar.
    folder: for the file; beside the tar if empty.

  Raises:
    ValueError: no tar, a damaged or truncated one, or one of unknown layout.
    OSError: it cannot be read.
  """
  found = cached(path, folder)
  if found is not None:
    return found
  index = build(path)
  try:
    save(index, _file(path, folder))
  except OSError as error:
    logging.warning(
      "%s: cannot keep its index (%s); it is made again at every start unless "
      "config.data.index_folder names a folder that can be written",
      path,
      error,
    )
  return index


def cached(path: str, folder: str = "") -> Index | None:
  """The index of a tar from its file; None if that is missing or stale."""
  try:
    words = np.memmap(_file(path, folder), _WORD, "r")
  except (OSError, ValueError):
    return None
  words = words.view(
    np.ndarray
  )  # a memmap's own slicing takes ten times longer
  if len(words) < _HEADER or words[0] != _MAGIC:
    return None
  layout, low, high, fingerprint, records, members = words[1:7].tolist()
  if len(words) != _HEADER + records + 1 + 2 * members:
    return None
  columns = np.split(words[_HEADER:], np.cumsum([records + 1, members]), axis=0)
  if layout >= len(LAYOUTS) or columns[0][-1] != members:
    return None
  starts, blocks, sizes = columns
  incomplete, repeated = words[7:9].tolist()
  index = Index(
    path, LAYOUTS[layout], starts, blocks, sizes, incomplete, repeated
  )
  fits = low + (high << 32) == os.path.getsize(path)
  return index if fits and fingerprint == _fingerprint(index) else None


def build(path: str) -> Index:
  """Walks a tar.

  Raises:
    ValueError: no tar, a damaged or truncated one, or one of unknown layout.
  """
  seen: set[str] = set()
  kept: list[dict[str, Member]] = []
  repeated = 0
  for key, group in tars.groups(path):
    if key in seen:
      repeated += 1
    else:
      seen.add(key)
      kept.append(group)
  layout = layouts.tell(path, {suffix for group in kept for suffix in group})
  rows = [row for row in map(layout.pick, kept) if row]
  cells = [cell for row in rows for cell in row]
  return Index(
    path,
    layout,
    np.cumsum([0, *map(len, rows)]).astype(np.uint32),
    np.array([c.offset // BLOCK if c else 0 for c in cells], np.uint32),
    np.array([c.size if c else 0 for c in cells], np.uint32),
    incomplete=len(kept) - len(rows),
    repeated=repeated,
  )


def save(index: Index, file: str) -> None:
  """Writes an index whole or not at all.

  Raises:
    OSError: it cannot be written.
  """
  size = os.path.getsize(index.path)
  header = [
    _MAGIC,
    LAYOUTS.index(index.layout),
    size & 0xFFFFFFFF,
    size >> 32,
    _fingerprint(index),
    len(index),
    len(index.blocks),
    index.incomplete,
    index.repeated,
  ]
  columns = (np.array(header, np.uint32), index.starts, index.blocks)
  words = np.concatenate([*columns, index.sizes]).astype(_WORD)
  folder = pathlib.Path(file).parent
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(
    dir=folder, prefix=".index-", delete=False
  ) as temporary:
    try:
      temporary.write(words.tobytes())
      temporary.close()
      os.chmod(temporary.name, 0o644)
      os.replace(temporary.name, file)
    except BaseException:
      os.unlink(temporary.name)
      raise


def _file(path: str, folder: str) -> str:
  if not folder:
    return path + SUFFIX
  # Shards of two data sets are often called alike.
  place = zlib.crc32(os.path.dirname(os.path.abspath(path)).encode())
  return os.path.join(folder, f"{place:08x}-{os.path.basename(path)}{SUFFIX}")


def _fingerprint(index: Index) -> int:
  """A checksum of the first and the last member's header and of the end."""
  size = os.path.getsize(index.path)
  end = max(0, size - tarfile.RECORDSIZE)  # a tar grows into its padding
  total = zlib.crc32(Member(index.path, end, size - end).read())
  for block in index.blocks[index.blocks > 0][[0, -1]] if len(index) else ():
    header = Member(index.path, (int(block) - 1) * BLOCK, BLOCK)
    total = zlib.crc32(header.read(), total)
  return total


def main() -> None:
  parser = argparse.ArgumentParser(description="Makes the indices of tars.")
  parser.add_argument("paths", nargs="+", help="the tars")
  parser.add_argument("--folder", default="", help="else beside the tars")
  options = parser.parse_args()
  bad = []
  for path in options.paths:
    try:
      load(path, options.folder)
    except (ValueError, OSError) as error:
      bad.append(str(error))
  if bad:
    sys.exit("\n".join(bad))


if __name__ == "__main__":
  main()
