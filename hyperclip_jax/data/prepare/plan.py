"""What `prepare` has to do: which shards, of what, and which are there."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from hyperclip_jax.data.prepare import inputs, manifest
from hyperclip_jax.data.prepare.inputs import Source
from hyperclip_jax.data.prepare.manifest import Options, ShardResult
from hyperclip_jax.data.prepare.shard import Job

MAX_SHARDS = 100_000  # a shard's number has five digits


class Plan(NamedTuple):
  """What a run has to do.

  Attributes:
    folder: to fill.
    options: of all shards.
    jobs: the shards to make.
    done: those that an earlier run made.
  """

  folder: str
  options: Options
  jobs: list[Job]
  done: list[ShardResult]


def plan(
  sources: Sequence[Source], folder: str, options: Options, skip_bad: bool
) -> Plan:
  """Looks at what an earlier run left in a folder.

  Args:
    sources: the inputs, by the number of their shard.
    folder: to fill. What a killed run left half done is removed.
    options: of all shards.
    skip_bad: leave out damaged inputs; they are tried again by the next run.

  Raises:
    ValueError: too many inputs, or a folder that holds something else or
      shards made otherwise.
    OSError: an input is gone, or the folder cannot be written.
  """
  if len(sources) > MAX_SHARDS:
    raise ValueError(
      f"{len(sources)} shards would be made; the most is {MAX_SHARDS}: make "
      "several folders, or raise --shard_size for a JSON"
    )
  for source in sources:
    if os.path.samefile(os.path.dirname(source.path) or ".", folder):
      raise ValueError(f"--output={folder} holds the input {source.path}")
  manifest.check(folder)
  done = manifest.finished(folder, options, list(map(inputs.describe, sources)))
  manifest.clear(folder)  # now that the folder is known to be ours
  numbers = {result.number for result in done}
  jobs = [
    Job(i, source, folder, options, skip_bad)
    for i, source in enumerate(sources)
    if i not in numbers
  ]
  return Plan(folder, options, jobs, done)
