"""One process of a small run: python -m tests.faults.job WORKDIR OPTIONS.

OPTIONS is JSON: "data", where the scenes are made; "config", what differs from
the small config, by dotted names; "bad_every", steps from one batch with bad
numbers to the next, 0 for none; "report", whether one is made at the end; and
"distributed", the arguments of `jax.distributed.initialize` where there are
several processes. As of `hyperclip_jax.main`, the exit code is 75 where the run
was stopped.
"""

import json
import pathlib
import sys

from hyperclip_jax import console
from hyperclip_jax.training import signals

if __name__ == "__main__":
  console.outlive()
  signals.listen(["--stopped_code=75"])
  print("listens", file=sys.stderr)

import jax
import numpy as np

from hyperclip_jax.reports import run as report
from hyperclip_jax.training import runs, sources, train
from tests import small

STOPPED = 75


def with_bad_numbers(make_batches, is_bad):
  """`train.make_batches`, some of whose batches have no finite picture.

  By the step, so that a run meets them again wherever it goes on from.
  """

  def make(run, examples_seen, faults):
    first = examples_seen // run.config.batch_size + 1
    for step, batch in enumerate(
      make_batches(run, examples_seen, faults), first
    ):
      if is_bad(step):
        whole = batch["whole"]
        whole["crop"] = np.full_like(whole["crop"], np.nan)
      yield batch

  return make


def main() -> None:
  workdir, options = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
  if options["distributed"]:
    jax.distributed.initialize(**options["distributed"])
  small.shapes_folder = lambda: options["data"]
  config = small.config("clip", steps=1)
  config.checkpoint.every = 5
  config.update_from_flattened_dict(options["config"])
  if options["bad_every"]:
    train.make_batches = with_bad_numbers(
      train.make_batches, lambda step: step % options["bad_every"] == 0
    )
  run = runs.prepare(config, workdir)
  model = train.train(run)
  if model is None:
    sys.exit(STOPPED)
  if options["report"]:
    data = sources.sample(config, run.sources)
    report.evaluate(workdir, config, model, data)
  signals.done()


if __name__ == "__main__":
  main()
