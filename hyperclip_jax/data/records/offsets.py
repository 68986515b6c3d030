"""Offsets of the members of each record of a tar.

The headers of a tar are read once; then reading a record is one `pread`. An
index takes 20 bytes for a raw record, so 400 MB for 20 million, and no file
handles. Module `index` saves indices in files.
"""

import dataclasses
import functools
import tarfile
import zlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt32

from hyperclip_jax.data.records import layouts, tars
from hyperclip_jax.data.records.layouts import LAYOUTS, Layout, Sorted
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.tars import BLOCK, Member

MAX_RECORD = 2**28  # bytes

# Members of a record closer than this are read together, since opening a file
# is slow on network disks.
GAP = 2**18  # bytes
# End of a tar that must match its index: the last records with their names, and
# the padding that an appended tar overwrites.
TAIL = 2**16  # bytes

# An index is little-endian words: magic, layout, bytes of the tar (low, high),
# checksum of its tail, records, members, incomplete, repeated; then the arrays.
# In a file a checksum of all words follows.
MAGIC = int.from_bytes(b"HCI2", "little")
WORD = np.dtype("<u4")
HEADER = 9


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
  """Locations of the complete records of one tar, in the order of the tar.

  Offsets are in blocks of 512 bytes, to which a tar aligns its members.

  Attributes:
    path: tar file.
    layout: layout of its records; raw for an empty tar.
    starts: (records + 1,); the members of record i are starts[i]:starts[i + 1].
    blocks: first block of each member; 0 for a missing one.
    sizes: number of bytes of each member.
    incomplete: number of keys left out because they lack a member (img2dataset
      leaves the JSON of a failed download).
    repeated: number of groups left out because their key occurred before.
    size: bytes of the tar.
    tail: checksum of the last `TAIL` bytes of the tar.
  """

  path: str
  layout: Layout
  starts: UInt32[np.ndarray, " records_and_one"]
  blocks: UInt32[np.ndarray, " members"]
  sizes: UInt32[np.ndarray, " members"]
  incomplete: int
  repeated: int
  size: int
  tail: int

  def __len__(self) -> int:
    return len(self.starts) - 1

  def members(self, record: int) -> dict[str, Member]:
    """Returns the members of a record, by suffix."""
    return {
      suffix: Member(self.path, offset, size)
      for suffix, offset, size in self._places(record)
    }

  def read(self, record: int) -> tuple[str, dict[str, bytes]]:
    """Reads a record.

    Args:
      record: index of the record.

    Returns:
      Key, and content of the members by suffix. The key comes from one header,
      which may truncate a key of more than 100 characters.

    Raises:
      RecordError: the record is larger than `MAX_RECORD`.
      OSError: the tar cannot be read, or has changed since it was indexed.
    """
    places = self._places(record)
    spans = _spans(
      (offset - BLOCK, offset + size) for _, offset, size in places
    )
    size = sum(end - start for start, end in spans)
    if size > MAX_RECORD:
      raise RecordError(
        f"{self.path}: record {record} at offset {spans[0][0]} has {size} "
        f"bytes; the most is {MAX_RECORD}",
        "record too large",
      )
    pieces = [
      (start, Member(self.path, start, end - start).read())
      for start, end in spans
    ]

    def content(offset: int, size: int) -> bytes:
      start, data = next(p for p in reversed(pieces) if p[0] <= offset)
      return data[offset - start : offset - start + size]

    key = self._key(content(places[0][1] - BLOCK, BLOCK))
    return key, {name: content(offset, size) for name, offset, size in places}

  def key(self, record: int) -> str:
    """Reads the key of a record, as `read` returns it.

    Raises:
      OSError: the tar cannot be read, or has changed since it was indexed.
    """
    block = int(self.blocks[self.starts[record]])
    return self._key(Member(self.path, (block - 1) * BLOCK, BLOCK).read())

  @functools.cached_property
  def digest(self) -> int:
    """Checksum of the index and of the tar's size and tail."""
    return zlib.crc32(self.words().tobytes())

  def words(self) -> UInt32[np.ndarray, " words"]:
    """Serialises the index as in an index file, without the checksum."""
    header = [
      MAGIC,
      LAYOUTS.index(self.layout),
      self.size & 0xFFFFFFFF,
      self.size >> 32,
      self.tail,
      len(self),
      len(self.blocks),
      self.incomplete,
      self.repeated,
    ]
    columns = (np.array(header, np.uint32), self.starts, self.blocks)
    return np.concatenate([*columns, self.sizes]).astype(WORD)

  def sound(self) -> bool:
    """Checks that all records have their members, and all lie in the tar."""
    needs = np.arange(len(self.layout.needs))
    starts = self.starts.astype(np.int64)
    ends = self.blocks.astype(np.int64) * BLOCK + self.sizes
    return bool(
      starts[0] == 0
      and starts[-1] == len(self.blocks)
      and self.layout.takes(np.diff(starts))
      and self.blocks[starts[:-1, None] + needs].all()
      and (ends <= self.size).all()
    )

  def _places(self, record: int) -> list[tuple[str, int, int]]:
    """Returns suffix, offset and size of each member of a record."""
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
        f"{self.path}: no tar header at an indexed offset ({error}); the file "
        f"has changed since it was indexed, remove its .index file"
      ) from error


def build(path: str) -> Index:
  """Builds the index of a tar by reading its headers.

  Args:
    path: tar file.

  Returns:
    Index of the tar.

  Raises:
    ValueError: it is not a tar, damaged or truncated, or of unknown layout.
    OSError: it cannot be read.
  """
  return of(path, layouts.sort(path))


def of(path: str, found: Sorted) -> Index:
  """Builds the index of a tar from its sorted records.

  Args:
    path: tar file.
    found: records of the tar.

  Returns:
    Index of the tar.

  Raises:
    OSError: the tar cannot be read.
  """
  rows = list(found.complete.values())
  cells = [cell for row in rows for cell in row]
  return Index(
    path,
    found.layout,
    np.cumsum([0, *map(len, rows)]).astype(np.uint32),
    np.array([c.offset // BLOCK if c else 0 for c in cells], np.uint32),
    np.array([c.size if c else 0 for c in cells], np.uint32),
    incomplete=len(found.incomplete),
    repeated=len(found.repeated),
    size=found.size,
    tail=tail(path, found.size),
  )


def unpacked(path: str, words: UInt32[np.ndarray, " words"]) -> Index | None:
  """Deserialises an index.

  Args:
    path: tar file.
    words: content of its index file.

  Returns:
    The index, or None if the words are not a valid index.
  """
  if len(words) < HEADER or words[0] != MAGIC:
    return None
  layout, low, high, tail, records, members = words[1:7].tolist()
  if layout >= len(LAYOUTS):
    return None
  if len(words) != HEADER + records + 1 + 2 * members + 1:
    return None
  starts, blocks, sizes = np.split(
    words[HEADER:-1], np.cumsum([records + 1, members])
  )
  index = Index(
    path,
    LAYOUTS[layout],
    starts,
    blocks,
    sizes,
    *words[7:9].tolist(),
    size=low + (high << 32),
    tail=tail,
  )
  return index if index.digest == words[-1] and index.sound() else None


def tail(path: str, size: int) -> int:
  """Computes a checksum of the end of a tar.

  Args:
    path: tar file.
    size: bytes of the tar.

  Returns:
    CRC-32 of its last `TAIL` bytes.
  """
  start = max(0, size - TAIL)
  return zlib.crc32(Member(path, start, size - start).read())


def _spans(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
  """Merges nearby pieces of a file into spans (start, end) to read at once."""
  spans: list[tuple[int, int]] = []
  for start, end in sorted(pieces):
    if spans and start <= spans[-1][1] + GAP:
      spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
    else:
      spans.append((start, end))
  return spans
