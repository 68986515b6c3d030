"""Layouts of shards: the members of a record in each kind of shard."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from hyperclip_jax import files
from hyperclip_jax.data.records import readers, storage, tars
from hyperclip_jax.data.records.readers import IMAGE_SUFFIXES, Members
from hyperclip_jax.data.records.sample import Sample
from hyperclip_jax.data.records.tars import Member


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
  """Names of the members of a record.

  Attributes:
    name: name of the layout.
    needs: required members, one suffix of each group. The suffix in the last
      group identifies the layout.
    read: function of (shard and key for messages, key, suffix -> content) that
      returns a sample.
    repeats: suffixes that occur once for each part, numbered from 0.
  """

  name: str
  needs: tuple[tuple[str, ...], ...]
  read: Callable[[str, str, Members], Sample]
  repeats: tuple[str, ...] = ()

  @functools.cache  # noqa: B019 (only a few layouts, never freed)
  def suffixes(self, count: int) -> tuple[str, ...]:
    """Returns the suffixes of a record in the order of the index.

    Args:
      count: number of members of the record, valid according to `takes`.
    """
    parts = range(count if self.repeats else 0)
    repeats = (name.format(part) for part in parts for name in self.repeats)
    needs = (names[0] for names in self.needs)
    return tuple(itertools.islice(itertools.chain(needs, repeats), count))

  def takes(self, counts: Int64[np.ndarray, " records"]) -> bool:
    """Checks whether records of this layout may have so many members."""
    more = counts - len(self.needs)
    if not self.repeats:
      return not more.any()
    return bool(((more >= 0) & (more % len(self.repeats) == 0)).all())

  def pick(self, members: Mapping[str, Member]) -> list[Member | None]:
    """Orders the members of a record; empty if a required one is missing."""
    found: list[Member | None] = []
    for names in self.needs:
      member = next((members[n] for n in names if n in members), None)
      if member is None:
        return []
      found.append(member)
    part = 0
    while self.repeats:
      row = [members.get(name.format(part)) for name in self.repeats]
      if not any(row):
        break
      found += row
      part += 1
    return found


RAW = Layout("raw GRIT", (IMAGE_SUFFIXES, ("json",)), readers.raw)
PROCESSED = Layout(
  "HyCoCLIP processed",
  (("child.jpg",), ("child.txt",), ("numparents.txt",)),
  readers.processed,
  ("parent{:03d}.jpg", "parent{:03d}.txt"),
)
PREPARED = Layout(
  "prepared",
  (("jpg",), ("parts.json",)),
  readers.prepared,
  ("part{:03d}.jpg",),
)
CAPTIONED = Layout("captioned", (IMAGE_SUFFIXES, ("txt",)), readers.captioned)
LAYOUTS = (RAW, PROCESSED, PREPARED, CAPTIONED)
WANTED = (
  "raw GRIT (KEY.jpg, KEY.json), images with texts (KEY.jpg, KEY.txt), "
  "HyCoCLIP processed records (KEY.child.jpg, KEY.child.txt, "
  "KEY.numparents.txt, KEY.parentNNN.jpg, KEY.parentNNN.txt) or prepared ones "
  "(KEY.jpg, KEY.parts.json)"
)


class Sorted(NamedTuple):
  """Records of a tar, separated from incomplete ones.

  Attributes:
    layout: layout of the records; raw for an empty tar.
    complete: key -> members by position, in the order of the tar; the first
      complete group for each key.
    incomplete: keys that lack a member (img2dataset leaves the JSON of a failed
      download).
    repeated: key of each further group.
    size: bytes of the tar before it was read.
  """

  layout: Layout
  complete: dict[str, Sequence[Member | None]]
  incomplete: list[str]
  repeated: list[str]
  size: int


def sort(path: str) -> Sorted:
  """Reads a tar's headers and sorts its members into records.

  Args:
    path: tar file.

  Returns:
    Complete and incomplete records.

  Raises:
    ValueError: it is not a tar, damaged or truncated, or of unknown layout.
    OSError: it cannot be read.
  """
  size = storage.size(path)
  groups = list(tars.groups(path))
  layout = tell(path, {name for _, group in groups for name in group})
  complete: dict[str, Sequence[Member | None]] = {}
  keys: dict[str, None] = {}  # an ordered set
  repeated = []
  for key, group in groups:
    if key in keys:
      repeated.append(key)
    keys[key] = None
    if key not in complete and (row := layout.pick(group)):
      complete[key] = row
  incomplete = [key for key in keys if key not in complete]
  return Sorted(layout, complete, incomplete, repeated, size)


def tell(path: str, suffixes: Iterable[str]) -> Layout:
  """Determines the layout of a tar.

  Args:
    path: tar file, for messages.
    suffixes: suffixes of its members.

  Returns:
    The layout; raw if there are no members.

  Raises:
    ValueError: they fit no layout, or several.
  """
  suffixes = set(suffixes)
  found = [layout for layout in LAYOUTS if layout.needs[-1][0] in suffixes]
  if len(found) > 1 and CAPTIONED in found:
    found.remove(CAPTIONED)  # img2dataset writes the caption both ways
  if not suffixes:
    return RAW
  if len(found) != 1:
    raise ValueError(
      f"{path}: unknown layout with the suffixes {listed(suffixes)}; "
      f"want {WANTED}"
    )
  return found[0]


def listed(suffixes: Iterable[str]) -> str:
  """Lists the first suffixes of a tar, for a message."""
  return ", ".join(files.shown(name, 40) for name in sorted(suffixes)[:12])
