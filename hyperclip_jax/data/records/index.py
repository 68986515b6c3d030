"""The offset index of a tar: where the members of each record lie.

A tar is walked once, header by header; afterwards a record is one `pread`. The
index is kept in a file beside the tar: 20 bytes a raw record, so 20 million
take 400 MB of memory and no file handle. Readers make missing indices;
`hyperclip index --shards=GLOB` makes them ahead.
"""

import dataclasses
import functools
import os
import pathlib
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging
from jaxtyping import UInt32

from hyperclip_jax.data.records import layouts, storage, tars
from hyperclip_jax.data.records.layouts import LAYOUTS, Layout
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.tars import BLOCK, Member

SUFFIX = ".index"
MAX_RECORD = 2**28  # bytes

# Members of a record closer than this are read together: opening a file is what
# network disks are slow at.
GAP = 2**18  # bytes
# The end of a tar by which its index is known to fit: the last records with
# their names, and the padding that a tar grows into.
TAIL = 2**16  # bytes

# An index file is little-endian words: magic, layout, bytes of the tar (low,
# high), checksum of its tail, records, members, incomplete, repeated; then the
# arrays; then a checksum of all words before.
_MAGIC = int.from_bytes(b"HCI2", "little")
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
    incomplete: keys left out as they lack a member (img2dataset leaves the
      JSON of a failed download).
    repeated: groups left out as their key has another; the first complete one
      is taken.
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
    """The members of a record, by suffix."""
    return {
      suffix: Member(self.path, offset, size)
      for suffix, offset, size in self._places(record)
    }

  def read(self, record: int) -> tuple[str, dict[str, bytes]]:
    """The key of a record and the content of its members, by suffix.

    The key comes from a header, and one of more than 100 characters may come
    out cut.

    Raises:
      RecordError: it is larger than any record should be.
      OSError: the tar cannot be read, or is not the one that was indexed.
    """
    places = self._places(record)
    spans = _spans(
      (offset - BLOCK, offset + size) for _, offset, size in places
    )
    size = sum(end - start for start, end in spans)
    if size > MAX_RECORD:
      raise RecordError(
        f"{self.path}: record {record} at offset {spans[0][0]} has {size} "
        f"bytes; the most is {MAX_RECORD}"
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
    """The key of a record, as `read` has it.

    Raises:
      OSError: the tar cannot be read, or is not the one that was indexed.
    """
    block = int(self.blocks[self.starts[record]])
    return self._key(Member(self.path, (block - 1) * BLOCK, BLOCK).read())

  @functools.cached_property
  def digest(self) -> int:
    """A checksum of the index and of the tar's size and tail."""
    return zlib.crc32(self.words().tobytes())

  def words(self) -> UInt32[np.ndarray, " words"]:
    """All of the index as an index file holds it, before the checksum."""
    header = [
      _MAGIC,
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
    return np.concatenate([*columns, self.sizes]).astype(_WORD)

  def sound(self) -> bool:
    """Whether each record has the members it needs, and all lie in the tar."""
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


def _spans(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
  """The stretches (start, end) to read for some pieces of a file."""
  spans: list[tuple[int, int]] = []
  for start, end in sorted(pieces):
    if spans and start <= spans[-1][1] + GAP:
      spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
    else:
      spans.append((start, end))
  return spans


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
  index = cached(path, folder)
  if index is None:
    index = build(path)
    error = keep(index, folder)
    if error is not None:
      warn_unkept([path], error)
  return index


def keep(index: Index, folder: str = "") -> OSError | None:
  """Writes the index of a tar to its file; returns why it cannot be written."""
  try:
    save(index, file_of(index.path, folder))
  except OSError as error:
    storage.raise_if_exhausted(error)
    return error
  return None


def warn_unkept(paths: Sequence[str], error: OSError) -> None:
  """Says that the indices of some tars cannot be kept, and why."""
  logging.warning(
    "%s%s: cannot keep the index (%s); it is made again at every start unless "
    "config.data.index_folder names a folder that can be written",
    paths[0],
    f" and {len(paths) - 1} more tars" if len(paths) > 1 else "",
    error,
  )


def cached(path: str, folder: str = "") -> Index | None:
  """The index of a tar from its file; None if that is missing or in doubt.

  Raises:
    ValueError: the tar is no regular file.
    OSError: the tar cannot be read, or no more files can be opened.
  """
  size = storage.size(path)
  file = file_of(path, folder)
  try:
    # A tar has no more members than blocks; a larger file is no index of it.
    if storage.size(file) > 4 * (_HEADER + 2 + 3 * (size // BLOCK)):
      return None
    words = np.fromfile(file, _WORD)
  except (OSError, ValueError) as error:
    storage.raise_if_exhausted(error)
    return None
  index = _unpacked(path, words)
  if index is None or index.size != size or index.tail != _tail(path, size):
    return None
  return index


def _unpacked(path: str, words: UInt32[np.ndarray, " words"]) -> Index | None:
  """The index that the words of a file are; None if they are none."""
  if len(words) < _HEADER or words[0] != _MAGIC:
    return None
  layout, low, high, tail, records, members = words[1:7].tolist()
  if layout >= len(LAYOUTS):
    return None
  if len(words) != _HEADER + records + 1 + 2 * members + 1:
    return None
  starts, blocks, sizes = np.split(
    words[_HEADER:-1], np.cumsum([records + 1, members])
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


def build(path: str) -> Index:
  """The index of a tar, which is walked.

  Raises:
    ValueError: no tar, a damaged or truncated one, or one of unknown layout.
    OSError: it cannot be read.
  """
  size = storage.size(path)
  groups = list(tars.groups(path))
  layout = layouts.tell(path, {name for _, group in groups for name in group})
  complete: dict[str, list[Member | None]] = {}
  for key, group in groups:
    if key not in complete and (row := layout.pick(group)):
      complete[key] = row
  rows, keys = list(complete.values()), len({key for key, _ in groups})
  cells = [cell for row in rows for cell in row]
  return Index(
    path,
    layout,
    np.cumsum([0, *map(len, rows)]).astype(np.uint32),
    np.array([c.offset // BLOCK if c else 0 for c in cells], np.uint32),
    np.array([c.size if c else 0 for c in cells], np.uint32),
    incomplete=keys - len(rows),
    repeated=len(groups) - keys,
    size=size,
    tail=_tail(path, size),
  )


def save(index: Index, file: str) -> None:
  """Writes an index whole or not at all.

  Raises:
    OSError: it cannot be written.
  """
  words = np.append(index.words(), np.array(index.digest, _WORD))
  folder = pathlib.Path(file).parent
  folder.mkdir(parents=True, exist_ok=True)
  # Hosts may write the same index at once. What a power cut leaves of it need
  # not be whole: the checksum tells.
  partial = folder / f".index-{uuid.uuid4().hex[:8]}"
  try:
    partial.write_bytes(words.tobytes())
    partial.replace(file)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def file_of(path: str, folder: str = "") -> str:
  """The index file of a tar."""
  if not folder:
    return path + SUFFIX
  # Shards of two data sets are often called alike.
  place = zlib.crc32(os.path.dirname(os.path.abspath(path)).encode())
  return os.path.join(folder, f"{place:08x}-{os.path.basename(path)}{SUFFIX}")


def _tail(path: str, size: int) -> int:
  """A checksum of the end of a tar of so many bytes."""
  start = max(0, size - TAIL)
  return zlib.crc32(Member(path, start, size - start).read())
