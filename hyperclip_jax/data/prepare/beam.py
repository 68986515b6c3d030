r"""Runs `prepare` or `ground` on Apache Beam, by any of its runners.

  hyperclip prepare --input ... --output ... \
    --beam_args='--runner=FlinkRunner --flink_master=HOST:8081 ...'

The pipeline makes the shard of each input and writes the manifest from the
results, so the output is byte for byte that of a local run. The workers need
this package, and all paths must be valid on them: use a shared or mounted file
system.
"""

import importlib
import json
import os
from collections.abc import Sequence
from typing import Any

from hyperclip_jax.data.prepare import manifest
from hyperclip_jax.data.prepare.manifest import ShardResult
from hyperclip_jax.data.prepare.plan import Plan


def run(plan: Plan, flags: Sequence[str]) -> dict[str, Any]:
  """Runs the pipeline and waits for it.

  Args:
    plan: shards to make.
    flags: flags of Beam and its runner.

  Returns:
    The manifest.

  Raises:
    ModuleNotFoundError: Beam is not installed.
    RuntimeError: a job failed after all the runner's attempts.
  """
  try:
    beam = importlib.import_module("apache_beam")
    module = importlib.import_module("apache_beam.options.pipeline_options")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "--beam_args needs Apache Beam: pip install 'hyperclip-jax[prepare]'"
    ) from error

  folder, options, done = plan.folder, plan.options, list(plan.done)

  def finish(results: list[ShardResult]) -> None:
    manifest.save(folder, options, [*done, *results])

  with beam.Pipeline(options=module.PipelineOptions(list(flags))) as pipeline:
    _ = (
      pipeline
      | "jobs" >> beam.Create(plan.jobs)
      | "spread" >> beam.Reshuffle()
      | "make" >> beam.Map(plan.make)
      | "collect" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
      | "manifest" >> beam.Map(finish)
    )
  with open(os.path.join(folder, manifest.MANIFEST), "rb") as file:
    return json.load(file)
