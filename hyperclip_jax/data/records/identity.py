"""Records which shards a run reads, and detects changes.

The order of examples depends on the number of records in each shard and on the
order of the shards. A resumed run, and each of its processes, must find the
same shards.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files

FILE = "data.json"
SHOWN = 8  # differences listed in a message


class Shard(NamedTuple):
  """Identity of a shard.

  Attributes:
    name: file name, unique within its source.
    records: number of complete records.
    digest: checksum of its index, and so of its size, its last bytes and the
      offsets of all members.
  """

  name: str
  records: int
  digest: int


Sources = Sequence[Sequence[Shard]]


class DataChangedError(OSError):
  """The data of a run differ from those it was trained on so far."""


def names(paths: Sequence[str]) -> list[str]:
  """Names shards independently of where the data are stored.

  Args:
    paths: paths of the shards of a source.

  Returns:
    Base names, or paths relative to the common folder if two are alike.
  """
  found = [os.path.basename(path) for path in paths]
  if len(set(found)) == len(found):
    return found
  whole = [os.path.abspath(path) for path in paths]
  common = os.path.commonpath([os.path.dirname(path) for path in whole])
  return [os.path.relpath(path, common) for path in whole]


def digest(sources: Sources) -> str:
  """Computes a digest of all shards of all sources and their order."""
  rows = [[list(shard) for shard in source] for source in sources]
  return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def differences(
  before: Sources, now: Sources, reasons: Mapping[str, str] | None = None
) -> list[str]:
  """Lists the differences between two lists of sources.

  Args:
    before: sources of shards.
    now: sources to compare with them.
    reasons: why a shard is missing now, by name, where that is known.

  Returns:
    One line for each difference, of which SHOWN are listed; empty if there are
    none.
  """
  if len(before) != len(now):
    return [f"there are {len(now)} sources of shards, before {len(before)}"]
  found = [
    f"source {i}: {line}" if len(now) > 1 else line
    for i, pair in enumerate(zip(before, now, strict=True))
    for line in _differences(*pair, reasons or {})
  ]
  left = len(found) - SHOWN
  return found[:SHOWN] + ([f"and {left} more"] if left > 0 else [])


def _differences(
  before: Sequence[Shard], now: Sequence[Shard], reasons: Mapping[str, str]
) -> list[str]:
  old, new = ({shard.name: shard for shard in rows} for rows in (before, now))
  added = [shard for shard in now if shard.name not in old]
  lines = []
  for shard in before:
    name, found = files.shown(shard.name), new.get(shard.name)
    if found is None:
      renamed = next((s for s in added if s[1:] == shard[1:]), None)
      if renamed is not None:
        added.remove(renamed)
        lines.append(f"{name} was renamed to {files.shown(renamed.name)}")
        continue
      why = reasons.get(shard.name, "")
      lines.append(f"{name} is missing{why and ': '}{why}")
    elif found.records != shard.records:
      lines.append(
        f"{name} has {found.records} records, before {shard.records}"
      )
    elif found != shard:
      lines.append(
        f"{name} has different content, still {shard.records} records"
      )
  lines += [f"{files.shown(shard.name)} is new" for shard in added]
  if not lines and list(before) != list(now):
    lines.append("the order of the shards has changed")
  return lines


def remember(
  workdir: pathlib.Path, sources: Sources, left_out: Sequence[Sequence[str]]
) -> None:
  """Saves the sources of a run as its latest.

  Args:
    workdir: folder of the run.
    sources: shards that are read.
    left_out: names of the bad shards of each source, which are not read.
  """
  known, now = _history(workdir), digest(sources)
  known.pop(now, None)
  known[now] = {
    "sources": [[list(shard) for shard in source] for source in sources],
    "left_out": [list(found) for found in left_out],
  }
  files.write_whole(workdir / FILE, json.dumps(known) + "\n")


def recall(workdir: pathlib.Path, which: str) -> Sources | None:
  """Loads the sources of a run that have a digest.

  Args:
    workdir: folder of the run.
    which: digest of the sources.

  Returns:
    Shards of each source, or None if the run never had such sources.
  """
  found = _history(workdir).get(which)
  if found is None:
    return None
  return [[Shard(*shard) for shard in rows] for rows in found["sources"]]


def left_out(workdir: pathlib.Path) -> list[list[str]]:
  """Returns the shards that a run last left out, by source."""
  known = _history(workdir)
  return list(known.values())[-1]["left_out"] if known else []


def _history(workdir: pathlib.Path) -> dict[str, Any]:
  """Loads `FILE`: for each digest the sources, and what was left out."""
  if not (workdir / FILE).exists():
    return {}
  found = files.read_json(workdir / FILE)
  try:
    for row in found.values():
      for source in row["sources"]:
        for name, records, which in source:
          Shard(str(name), int(records), int(which))
      for name in (name for names in row["left_out"] for name in names):
        name.encode(errors="replace")
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{workdir / FILE}: not as it was written; remove it ({error!r})"
    ) from error
  return found
