"""Grain data source of the records of many tars, in any order."""

import bisect
import copy
import glob
import itertools
import operator
import os
import re
from collections.abc import Mapping, Sequence
from typing import SupportsIndex

from absl import logging

from hyperclip_jax.data.records import (
  identity,
  indices,
  layouts,
  sample,
  storage,
  tars,
)
from hyperclip_jax.data.records.layouts import WANTED
from hyperclip_jax.data.records.offsets import Index
from hyperclip_jax.data.records.record import BoxWatch, Record
from hyperclip_jax.data.records.sample import Reading

MOST_NAMES = 1_000_000  # limit on the expansion of one pattern's braces

_INNER = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(
  r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?", re.ASCII
)


def split(text: str) -> list[str]:
  """Splits a text at its commas into patterns.

  Commas in braces do not split, nor do those of a text that is the name of an
  existing file.
  """
  if _find(text):
    return [text]
  depth, parts = 0, [""]
  for letter in text:
    depth += (letter == "{") - (letter == "}" and depth > 0)
    if letter == "," and not depth:
      parts.append("")
    else:
      parts[-1] += letter
  return [part for part in parts if part.strip()]


def expand(patterns: str | Sequence[str]) -> list[str]:
  """Expands patterns to a sorted list of distinct paths.

  A pattern is a path, a folder (for all its `*.tar`), a glob, or one of these
  with braces, as in shells and webdataset: `{a,b}`, `{000..012}`. `~` is the
  home folder, and blanks around a pattern are dropped. A pattern that is the
  name of an existing file is taken literally.

  Args:
    patterns: patterns, or one text of patterns joined by commas.

  Returns:
    Paths of the files.

  Raises:
    FileNotFoundError: a pattern, or a name in its expansion, matches nothing.
    ValueError: the braces of a pattern expand to too many names.
    OSError: no more files can be opened.
  """
  paths = set()
  for pattern in [patterns] if isinstance(patterns, str) else patterns:
    found = _find(pattern) or _find(pattern.strip())
    if found:
      paths.update(found)
      continue
    for name in _braces(pattern.strip()):
      found = _find(name)
      if not found:
        storage.check_handles()  # without free handles a glob finds nothing
        raise FileNotFoundError(_no_match(name, pattern.strip()))
      paths.update(found)
  return sorted(paths)


def _find(pattern: str) -> list[str]:
  """Returns the files of a path, folder or glob; empty if there are none."""
  pattern = os.path.expanduser(pattern)
  if os.path.exists(pattern):
    return _tars_if_folder(pattern)
  folder, name = os.path.split(pattern)
  if os.path.isdir(folder):  # a real name may contain a `[` or a `*`
    pattern = os.path.join(glob.escape(folder), name)
  found = glob.glob(pattern, recursive=True)
  return [path for match in found for path in _tars_if_folder(match)]


def _tars_if_folder(path: str) -> list[str]:
  if not os.path.isdir(path):
    return [path]
  return glob.glob(os.path.join(glob.escape(path), "*.tar"))


def _braces(pattern: str) -> list[str]:
  """Expands the braces of a pattern."""
  done, left = [], [pattern]
  while left:
    text = left.pop(0)
    for match in _INNER.finditer(text):
      parts = _alternatives(match[1])
      if parts:
        left += [text[: match.start()] + p + text[match.end() :] for p in parts]
        break
    else:
      done.append(text)
    if len(done) + len(left) > MOST_NAMES:
      raise ValueError(
        f"{pattern!r}: more than {MOST_NAMES:,} names; use a glob"
      )
  return done


def _alternatives(text: str) -> Sequence[str]:
  """Expands the inside of braces; empty if it is plain text."""
  match = _RANGE.fullmatch(text)
  if match is None:
    return text.split(",") if "," in text else ()
  first, last, step = int(match[1]), int(match[2]), int(match[3] or 1) or 1
  padded = any(len(n) > 1 and n[0] == "0" for n in (match[1], match[2]))
  width = max(len(match[1]), len(match[2])) if padded else 0
  if abs(last - first) // step >= MOST_NAMES:
    raise ValueError(
      f"'{{{text}}}': more than {MOST_NAMES:,} names; use a glob"
    )
  way = 1 if last >= first else -1
  numbers = range(first, last + way, way * step)
  return [f"{number:0{width}d}" for number in numbers]


def _no_match(name: str, pattern: str) -> str:
  of = "" if name == pattern else f" (of {pattern!r})"
  return (
    f"no file matches {name!r}{of}; want a tar or a folder of tars, a glob "
    "such as 'DIR/*.tar' or braces such as 'DIR/{00000..00012}.tar', relative "
    f"to {os.getcwd()!r} unless absolute"
  )


class TarSource:
  """Grain data source of the complete records of many tars.

  The layout of each tar is determined by its members' names. Thread-safe, and
  picklable with its index.

  Attributes:
    skipped: reason for each tar left out, by its path.
  """

  def __init__(
    self,
    paths: Sequence[str],
    min_side: int = 32,
    *,
    skip_bad: bool = False,
    index_folder: str = "",
    upright: bool = False,
  ):
    """Loads or builds the indices of the tars.

    Args:
      paths: tar files; records are numbered in this order (see `expand`).
      min_side: smallest side of a raw record's box in pixels of its image.
      skip_bad: whether to leave out tars that are damaged or cannot be read.
      index_folder: folder of the index files; beside the tars if empty.
      upright: whether boxes of raw records refer to images turned as their EXIF
        orientation says.

    Raises:
      ValueError: a tar is damaged or of an unknown layout, or all are empty.
      OSError: a tar cannot be read, or no more files can be opened.
    """
    self._reading = Reading(min_side, upright=upright)
    self._boxes = BoxWatch()
    self.skipped: dict[str, str] = {}
    self._names = dict(zip(paths, identity.names(paths), strict=True))
    self._shards: list[Index] = []
    for path, found in zip(
      paths, indices.find(paths, index_folder), strict=True
    ):
      if isinstance(found, Index):
        self._shards.append(found)
      elif not skip_bad:
        raise found
      else:
        self.skipped[path] = str(found)
        logging.warning("left out: %s", found)
    self._number()
    _say_lost(self._shards)

  def without(self, reasons: Mapping[str, str]) -> "TarSource":
    """Returns this source without some of its shards.

    Args:
      reasons: reason for each shard left out, by its name (see
        `identity.names`).

    Returns:
      New source with the remaining shards.

    Raises:
      ValueError: no record is left.
    """
    other = copy.copy(self)
    other.skipped = dict(self.skipped)
    other._shards = []
    for shard in self._shards:
      reason = reasons.get(self._names[shard.path])
      if reason is None:
        other._shards.append(shard)
      else:
        other.skipped[shard.path] = reason
        logging.warning("left out: %s: %s", shard.path, reason)
    other._number()
    return other

  @property
  def shards(self) -> list[identity.Shard]:
    """Shards that are read, in order."""
    return [
      identity.Shard(self._names[shard.path], len(shard), shard.digest)
      for shard in self._shards
    ]

  @property
  def left_out(self) -> dict[str, str]:
    """Reason for each shard left out, by its name."""
    return {self._names[path]: why for path, why in self.skipped.items()}

  def _number(self) -> None:
    """Numbers the records."""
    self._ends = list(itertools.accumulate(map(len, self._shards)))
    if not len(self):
      paths = list(self._names)
      raise ValueError(
        f"no complete record in {len(paths)} tars ({', '.join(paths[:3])}"
        f"{_suffixes(self._shards[:3])}); want {WANTED}"
      )

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Reads a record.

    Raises:
      RecordError: the record is malformed.
      OSError: its bytes cannot be read.
    """
    shard, row = self._locate(operator.index(index))
    key, members = shard.read(row)
    where = f"{shard.path}: record {key!r}"
    found = shard.layout.read(where, key, members)
    record = sample.cleaned(found, where, self._reading)
    self._boxes.see(record, shard.path)
    return record

  def name(self, number: int) -> str:
    """Names a record by its shard and key, for messages."""
    shard, row = self._locate(number)
    try:
      return f"{shard.path}: record {shard.key(row)!r}"
    except OSError:
      return f"{shard.path}: record {row}"

  def _locate(self, number: int) -> tuple[Index, int]:
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    which = bisect.bisect_right(self._ends, number)
    shard = self._shards[which]
    return shard, number - self._ends[which] + len(shard)

  def __repr__(self) -> str:
    first = self._shards[0].path
    return (
      f"TarSource({len(self)} records in {len(self._shards)} tars from "
      f"{first!r}, min_side={self._reading.min_side})"
    )


def _say_lost(shards: Sequence[Index]) -> None:
  """Warns once of incomplete and repeated records."""
  incomplete = sum(shard.incomplete for shard in shards)
  repeated = sum(shard.repeated for shard in shards)
  if incomplete or repeated:
    first = next(s.path for s in shards if s.incomplete or s.repeated)
    logging.warning(
      "%d records of %d tars are left out because they lack a member, and %d "
      "because their key occurs before in the tar; the first are in %s",
      incomplete,
      len(shards),
      repeated,
      first,
    )


def _suffixes(shards: Sequence[Index]) -> str:
  """Lists the suffixes of some tars' members, for a message."""
  try:
    found = {
      suffix
      for shard in shards
      for _, members in tars.groups(shard.path)
      for suffix in members
    }
  except (ValueError, OSError):
    return ""
  return f", with members {layouts.listed(found)}" if found else ""
