"""Checks that a run, resumed or in several processes, reads the same data."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from hyperclip_jax.data.records import identity
from hyperclip_jax.data.records.identity import Shard
from hyperclip_jax.data.records.shards import TarSource


def check(
  sources: Sequence[TarSource],
  workdir: pathlib.Path,
  meta: Mapping[str, Any],
  allowed: bool,
) -> None:
  """Checks that a run reads the data that its checkpoint was trained on.

  Args:
    sources: sources of the run.
    workdir: folder of the run.
    meta: metadata of the checkpoint.
    allowed: whether to warn of other data instead of raising.

  Raises:
    DataChangedError: the run reads other data.
  """
  now = [source.shards for source in sources]
  known = meta.get("data")  # None: saved by an earlier release
  if known in (None, identity.digest(now)):
    return
  before = identity.recall(workdir, str(known))
  if before is None:
    changes = [f"the changes are unknown: they are not in {identity.FILE}"]
  else:
    reasons: dict[str, str] = {}
    for source in sources:
      reasons |= source.left_out
    changes = identity.differences(before, now, reasons)
  what = "\n  ".join(changes)
  position = f"{meta['examples_seen']:,}"
  if allowed:
    logging.warning(
      "the data have changed from example %s on:\n  %s", position, what
    )
    return
  raise identity.DataChangedError(
    f"{workdir} was trained on other data:\n  {what}\nGive the same "
    "shards again, or --config.checkpoint.allow_data_change to continue with "
    f"these, in another order, from example {position} on"
  )


def remember(sources: Sequence[TarSource], workdir: pathlib.Path) -> None:
  """Saves in a workdir which shards its run reads and leaves out.

  Args:
    sources: sources of the run.
    workdir: folder of the run.
  """
  identity.remember(
    workdir,
    [source.shards for source in sources],
    [list(source.left_out) for source in sources],
  )


def agreed(sources: list[TarSource]) -> list[TarSource]:
  """Checks that the sources are equal on all processes.

  A shard left out by one process is left out by all.

  Args:
    sources: sources opened by this process.

  Returns:
    Sources without the shards left out by any process.

  Raises:
    ValueError: the processes read different data.
  """
  if jax.process_count() == 1:
    return sources
  left_out = [list(source.left_out) for source in sources]
  of_all = [json.loads(text) for text in _gather(json.dumps(left_out))]
  for number, rows in enumerate(of_all):
    sources = [
      source.without(dict.fromkeys(names, f"process {number} cannot read it"))
      for source, names in zip(sources, rows, strict=True)
    ]
  now = [source.shards for source in sources]
  digests = _gather(identity.digest(now))
  if len(set(digests)) == 1:
    return sources
  found = [
    [[Shard(*row) for row in rows] for rows in json.loads(text)]
    for text in _gather(json.dumps(now))
  ]
  lines = [
    f"process {number}, compared with process 0: {line}"
    for number, rows in enumerate(found)
    for line in identity.differences(found[0], rows)
  ]
  raise ValueError(
    "the processes found different data; give each the same files in the same "
    "state:\n  " + "\n  ".join(lines[: identity.SHOWN])
  )


def _gather(text: str) -> list[str]:
  """Gathers a text from each process, in their order."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = np.array([len(data)], np.int32)
  sizes = np.asarray(multihost_utils.process_allgather(size)).reshape(-1)
  padded = np.pad(data, (0, int(sizes.max()) - len(data)))
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [
    row[:size].tobytes().decode()
    for row, size in zip(rows.reshape(len(sizes), -1), sizes, strict=True)
  ]
