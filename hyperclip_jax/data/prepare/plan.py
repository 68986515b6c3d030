"""Plans which shards `prepare` has to make."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hyperclip_jax.data.prepare import inputs, manifest
from hyperclip_jax.data.prepare.inputs import Source
from hyperclip_jax.data.prepare.manifest import Recipe, ShardResult
from hyperclip_jax.data.prepare.shard import Job

MAX_SHARDS = 100_000  # a shard's number has five digits


class Plan(NamedTuple):
  """Shards to make.

  Attributes:
    folder: output folder.
    options: options of all shards.
    jobs: shards to make.
    done: shards made by an earlier run.
    make: function that makes a shard, on any machine.
  """

  folder: str
  options: Recipe
  jobs: list[Job]
  done: list[ShardResult]
  make: Callable[[Job], ShardResult]


def plan(
  sources: Sequence[Source],
  folder: str,
  options: Recipe,
  make: Callable[[Job], ShardResult],
  skip_bad: bool,
) -> Plan:
  """Plans a run, given what an earlier run left in the folder.

  Args:
    sources: inputs, by number of their shard.
    folder: output folder.
    options: options of all shards.
    make: function that makes a shard.
    skip_bad: whether to leave out damaged inputs; the next run tries them
      again.

  Returns:
    Shards to make.

  Raises:
    ValueError: there are too many inputs, or the folder contains other files or
      shards made with other options or inputs.
    OSError: an input is missing, or the folder cannot be written.
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
  numbers = {result.number for result in done}
  jobs = [
    Job(i, source, folder, options, skip_bad)
    for i, source in enumerate(sources)
    if i not in numbers
  ]
  return Plan(folder, options, jobs, done, make)
