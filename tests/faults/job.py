"""One process of a small run: python -m tests.faults.job WORKDIR OPTIONS.

OPTIONS is JSON: "data", where the scenes are made; "config", what differs from
the small config, by dotted names; and "distributed", the arguments of
`jax.distributed.initialize` where there are several processes.
"""

import json
import pathlib
import sys

import jax

from hyperclip_jax import runs, train
from tests import small


def main() -> None:
  workdir, options = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
  if options["distributed"]:
    jax.distributed.initialize(**options["distributed"])
  small.shapes_folder = lambda: options["data"]
  config = small.config("clip", steps=1)
  config.checkpoint.every = 5
  config.update_from_flattened_dict(options["config"])
  train.train(runs.prepare(config, workdir))


if __name__ == "__main__":
  main()
