"""Shards: tars of records, read in any order through an index of offsets.

A tar is walked once, header by header; afterwards each member is one `pread`.
Nothing is ever extracted, so a member's name is only a name: `../../x` or
`/etc/x` cannot reach the file system.
"""

import dataclasses
import glob
import operator
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Bool, Int64

from hyperclip_jax.data import record
from hyperclip_jax.data.record import Member, Record

# webdataset's rule: up to the first dot of the base name, and what follows it.
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]+)", re.DOTALL)


class Layout(NamedTuple):
  """What the members of a record are called, and how they are parsed.

  `needs` lists what a record must have: one suffix of each group. The last
  group holds the suffix that tells the layout.
  """

  name: str
  needs: tuple[tuple[str, ...], ...]
  parse: Callable[[str, Mapping[str, Member], int], Record]


RAW = Layout("raw GRIT", (record.IMAGE_SUFFIXES, ("json",)), record.parse_raw)
PROCESSED = Layout(
  "HyCoCLIP processed",
  (("child.jpg",), ("child.txt",), ("numparents.txt",)),
  record.parse_processed,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
  """The index of one tar; arrays, as a run may hold 20 million records.

  Attributes:
    path: the tar.
    keys: (groups,) strings, the keys in the order of the tar.
    suffixes: the distinct suffixes of the tar.
    starts: (groups + 1,); the members of group g are starts[g]:starts[g + 1].
    codes: each member's suffix, as an index into `suffixes`.
    offsets: each member's first byte in the tar.
    sizes: each member's number of bytes.
  """

  path: str
  keys: np.ndarray
  suffixes: tuple[str, ...]
  starts: Int64[np.ndarray, " groups_and_one"]
  codes: Int64[np.ndarray, " members"]
  offsets: Int64[np.ndarray, " members"]
  sizes: Int64[np.ndarray, " members"]

  def __len__(self) -> int:
    return len(self.keys)

  def members(self, group: int) -> dict[str, Member]:
    """The members of a group, by suffix."""
    span = slice(self.starts[group], self.starts[group + 1])
    columns = (self.codes[span], self.offsets[span], self.sizes[span])
    return {
      self.suffixes[code]: Member(self.path, offset, size)
      for code, offset, size in zip(*(c.tolist() for c in columns), strict=True)
    }

  def has_any(self, suffixes: Sequence[str]) -> Bool[np.ndarray, " groups"]:
    """Which groups have a member with one of these suffixes."""
    wanted = [i for i, name in enumerate(self.suffixes) if name in suffixes]
    hits = np.isin(self.codes, wanted)
    return np.logical_or.reduceat(hits, self.starts[:-1], dtype=bool)


def expand(patterns: str | Sequence[str]) -> list[str]:
  """Expands paths and globs to a sorted list of distinct paths.

  Raises:
    FileNotFoundError: a pattern matches nothing.
  """
  paths = set()
  for pattern in [patterns] if isinstance(patterns, str) else patterns:
    pattern = os.path.expanduser(pattern)
    exists = os.path.exists(pattern)  # a real name may hold a `[` or a `*`
    found = [pattern] if exists else glob.glob(pattern, recursive=True)
    if not found:
      raise FileNotFoundError(
        f"no file matches {pattern!r}; want a tar or a glob such as "
        f"'DIR/*.tar', relative to {os.getcwd()!r} unless absolute"
      )
    paths.update(found)
  return sorted(paths)


def index_tar(path: str) -> Shard:
  """Indexes the members of a tar by key and suffix.

  A group is a run of members of one key, as webdataset writes and reads them.
  A key that comes back later, or a suffix that comes twice in a run, begins
  another group of that key, and only a key's first group is kept: members of
  two groups are never mixed. Suffixes are lower-cased. Links, devices,
  directories, sparse files and names without a key or a suffix are skipped.

  Raises:
    ValueError: no tar, or a damaged or truncated one.
  """
  keys: list[str] = []
  seen: set[str] = set()
  codes: dict[str, int] = {}
  starts: list[int] = []
  rows: list[tuple[int, int, int]] = []
  last, group, keep = None, set(), False
  for name, offset, size in _walk(path):
    match = _NAME.fullmatch(name)
    if match is None:
      continue
    key, suffix = match[1], match[2].lower()
    if key != last or suffix in group:
      last, group, keep = key, set(), key not in seen
      if keep:
        seen.add(key)
        keys.append(key)
        starts.append(len(rows))
    group.add(suffix)
    if keep:
      rows.append((codes.setdefault(suffix, len(codes)), offset, size))
  columns = np.array(rows, np.int64).reshape(-1, 3).T.copy()
  return Shard(
    path,
    np.array(keys, np.dtypes.StringDType()),
    tuple(codes),
    np.array([*starts, len(rows)], np.int64),
    *columns,
  )


class TarSource:
  """The complete records of many tars, by number: a grain data source.

  Each tar's layout, raw GRIT or HyCoCLIP processed, is told by its suffixes.
  Records that lack a member (img2dataset leaves the JSON of a failed download)
  are not counted. Thread-safe, and picklable with its index.
  """

  def __init__(self, paths: Sequence[str], min_side: int = 32):
    """Indexes the tars.

    Args:
      paths: the tars; records are numbered in this order (see `expand`).
      min_side: smallest side of a raw record's box in pixels.

    Raises:
      ValueError: a tar is damaged or of an unknown layout, or all are empty.
    """
    self._min_side = min_side
    self._shards = [index_tar(path) for path in paths]
    self._layouts = [_layout(shard) for shard in self._shards]
    # Which groups of each shard are records, and the number after its last.
    self._groups = [
      np.flatnonzero(
        np.logical_and.reduce(
          [shard.has_any(suffixes) for suffixes in layout.needs]
        )
      )
      for shard, layout in zip(self._shards, self._layouts, strict=True)
    ]
    self._ends = np.cumsum([len(groups) for groups in self._groups])
    if not len(self):
      raise ValueError(
        f"no complete record in {len(paths)} tars ({', '.join(paths[:3])}); "
        f"want {_wanted()}"
      )

  def __len__(self) -> int:
    return int(self._ends[-1]) if len(self._ends) else 0

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Reads the texts of a record.

    Raises:
      RecordError: this record is malformed.
      OSError: its bytes cannot be read.
    """
    number = operator.index(index)
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    which = int(np.searchsorted(self._ends, number, side="right"))
    shard, groups = self._shards[which], self._groups[which]
    group = int(groups[number - self._ends[which]])  # from the shard's end
    return self._layouts[which].parse(
      str(shard.keys[group]), shard.members(group), self._min_side
    )

  def __repr__(self) -> str:
    first = self._shards[0].path
    return (
      f"TarSource({len(self)} records in {len(self._shards)} tars from "
      f"{first!r}, min_side={self._min_side})"
    )


def _walk(path: str) -> Iterator[tuple[str, int, int]]:
  """Yields name, data offset and size of each regular member of a tar."""
  position = 0
  try:
    # `errors` keeps names that are not UTF-8 apart and encodable.
    with tarfile.open(path, "r:", errors="backslashreplace") as tar:
      for member in tar:
        if member.offset_data <= position:
          raise tarfile.ReadError("a header that points backwards")
        position = member.offset_data
        if member.isreg() and not member.issparse():
          yield member.name, member.offset_data, member.size
      # tarfile takes a header that is cut or garbled for the end of the tar.
      position = tar.offset
      _check_end(tar, position)
  except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:
    # The last two: a garbled header may claim a member of any size.
    if position == 0:
      with open(path, "rb") as file:
        head = file.read(8)
      raise ValueError(
        f"{path}: not a tar (begins with {head!r}); want an uncompressed tar "
        f"of {_wanted()}"
      ) from error
    raise ValueError(
      f"{path}: damaged or truncated tar near offset {position} of "
      f"{os.path.getsize(path)} bytes ({error}); fetch or write it again"
    ) from error


def _check_end(tar: tarfile.TarFile, offset: int) -> None:
  """Raises unless the tar ends at this offset with a block of zeros."""
  assert tar.fileobj is not None
  tar.fileobj.seek(offset)
  if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise tarfile.ReadError("no end-of-archive block")


def _layout(shard: Shard) -> Layout:
  """The layout of a tar; an empty one passes for either."""
  found = [
    lay for lay in (RAW, PROCESSED) if lay.needs[-1][0] in shard.suffixes
  ]
  if len(found) != 1 and len(shard):
    suffixes = ", ".join(sorted(shard.suffixes)[:12])
    raise ValueError(
      f"{shard.path}: unknown layout with the suffixes {suffixes}; want "
      f"{_wanted()}"
    )
  return found[0] if found else RAW


def _wanted() -> str:
  return (
    "raw GRIT (KEY.jpg, KEY.json) or HyCoCLIP processed records (KEY.child.jpg,"
    " KEY.child.txt, KEY.numparents.txt, KEY.parentNNN.jpg, KEY.parentNNN.txt)"
  )
