"""Which data a run reads, shard by shard: kept, and compared.

The order of examples is a function of the number of records in each shard and
of the order of the shards. A run that goes on, and each of its processes, must
find the same ones.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files

FILE = "data.json"
SHOWN = 8  # differences that a message lists


class Shard(NamedTuple):
  """A shard as it is told from others.

  Attributes:
    name: of its file, within its source.
    records: complete ones.
    digest: of its index, and so of its size, its last bytes and the places of
      all members.
  """

  name: str
  records: int
  digest: int


Sources = Sequence[Sequence[Shard]]


class DataChangedError(OSError):
  """The data of a run are not those that it was trained on so far."""


def names(paths: Sequence[str]) -> list[str]:
  """A name for each shard that does not depend on where the data lie.

  The base names, or where two are alike, paths below the common folder.
  """
  found = [os.path.basename(path) for path in paths]
  if len(set(found)) == len(found):
    return found
  whole = [os.path.abspath(path) for path in paths]
  common = os.path.commonpath([os.path.dirname(path) for path in whole])
  return [os.path.relpath(path, common) for path in whole]


def digest(sources: Sources) -> str:
  """One word for all shards of all sources and their order."""
  rows = [[list(shard) for shard in source] for source in sources]
  return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def differences(
  before: Sources, now: Sources, reasons: Mapping[str, str] | None = None
) -> list[str]:
  """What is other in the second of two lists of sources; [] if nothing is.

  Args:
    before: sources of shards.
    now: the same to compare.
    reasons: why a shard is missing now, by name, where that is known.
  """
  if len(before) != len(now):
    return [f"there are {len(now)} sources of shards, were {len(before)}"]
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
        lines.append(f"{name} is called {files.shown(renamed.name)}")
        continue
      why = reasons.get(shard.name, "")
      lines.append(f"{name} is missing{why and ': '}{why}")
    elif found.records != shard.records:
      lines.append(f"{name} has {found.records} records, had {shard.records}")
    elif found != shard:
      lines.append(
        f"{name} has other content, {shard.records} records as before"
      )
  lines += [f"{files.shown(shard.name)} is new" for shard in added]
  if not lines and list(before) != list(now):
    lines.append("the shards come in another order")
  return lines


def remember(
  workdir: pathlib.Path, sources: Sources, left_out: Sequence[Sequence[str]]
) -> None:
  """Writes down the sources of a run, as the newest of those it has had.

  Args:
    workdir: folder of the run.
    sources: shards that are read.
    left_out: names of those of each source that are not, as they were bad.
  """
  known, now = _history(workdir), digest(sources)
  known.pop(now, None)
  known[now] = {
    "sources": [[list(shard) for shard in source] for source in sources],
    "left_out": [list(found) for found in left_out],
  }
  files.write_whole(workdir / FILE, json.dumps(known) + "\n")


def recall(workdir: pathlib.Path, which: str) -> Sources | None:
  """The sources of a digest, if the run has had such; else None."""
  found = _history(workdir).get(which)
  if found is None:
    return None
  return [[Shard(*shard) for shard in rows] for rows in found["sources"]]


def left_out(workdir: pathlib.Path) -> list[list[str]]:
  """The shards that a run left out last, by source; [] if it is new."""
  known = _history(workdir)
  return list(known.values())[-1]["left_out"] if known else []


def _history(workdir: pathlib.Path) -> dict[str, Any]:
  """What `FILE` holds: of each digest, the sources and what was left out."""
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
