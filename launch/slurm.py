"""Submits a job, or a sweep's, to SLURM.

  python -m launch.slurm --config=configs/grit_vitb.py --workdir=runs/vitb \
    --nodes=4 --gpus=8 --time=24:00:00 --partition=a100
"""

import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Sequence

from launch import jobs

SCRIPT = pathlib.Path(__file__).with_name("slurm.sbatch")


def main(argv: Sequence[str] | None = None) -> int:
  """Submits one batch job for each job; the exit code."""
  flags = jobs.parser("Submits a job, or a sweep's, to SLURM.")
  flags.add_argument("--nodes", type=int, default=1)
  flags.add_argument(
    "--gpus", type=int, default=1, help="of a node; 0 for a CPU process a node"
  )
  flags.add_argument("--time", help="limit of one stretch, as in 24:00:00")
  flags.add_argument("--partition")
  flags.add_argument("--container", help="image for Pyxis")
  flags.add_argument(
    "--sbatch",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="a further option of sbatch, such as account=me; may be repeated",
  )
  options, todo = jobs.parse(flags, argv)
  if options.nodes < 1 or options.gpus < 0:
    flags.error("--nodes must be at least 1 and --gpus at least 0")
  more = {"time": options.time, "partition": options.partition}
  try:
    more |= jobs.pairs(options.sbatch, "--sbatch")
  except ValueError as error:
    flags.error(str(error))
  added = {"HYPERCLIP_CONTAINER": options.container or ""}
  for job in todo:
    line = command(job, options.nodes, options.gpus, more)
    if options.dry_run:
      variables = f"HYPERCLIP_CONTAINER={shlex.quote(options.container or '')}"
      print(f"{variables} {shlex.join(line)}")
      continue
    # SLURM makes no folder for its output.
    pathlib.Path(job.workdir).mkdir(parents=True, exist_ok=True)
    try:
      done = subprocess.run(line, env=os.environ | added)
    except FileNotFoundError:
      flags.error("there is no sbatch here: submit where SLURM is installed")
    if done.returncode:
      return done.returncode
  return 0


def command(
  job: jobs.Job, nodes: int, gpus: int, more: dict[str, str | None]
) -> list[str]:
  """sbatch's command line for one job.

  Args:
    job: what to run.
    nodes: how many.
    gpus: of each node, with a process for each; 0 for one process without.
    more: further options by name; those that are None are left out.
  """
  output = job.workdir.replace("%", "%%")  # % begins SLURM's own fields
  options = {
    "job-name": job.name,
    "output": f"{output}/slurm-%j.out",
    "nodes": str(nodes),
    "ntasks-per-node": str(gpus or 1),
    "gpus-per-node": str(gpus) if gpus else None,
  } | more
  given = [f"--{name}={text}" for name, text in options.items() if text]
  return ["sbatch", *given, str(SCRIPT), *job.args]


if __name__ == "__main__":
  sys.exit(main())
