"""Submits a job, or a sweep's, to SLURM.

  python -m launch.slurm --config=configs/grit_vitb.py --workdir=runs/vitb \
    --nodes=4 --gpus=8 --cpus=16 --time=24:00:00 --partition=a100
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

from launch import jobs

MOUNT = re.compile(r"/[^,:]+")
# Times in SLURM: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
SCRIPT = pathlib.Path(__file__).with_name("slurm.sbatch")


def main(argv: Sequence[str] | None = None) -> int:
  """Submits one batch job for each job; returns the exit code of sbatch."""
  flags = jobs.parser("Submits a job, or a sweep's, to SLURM.")
  flags.add_argument("--nodes", type=int, default=1)
  flags.add_argument(
    "--gpus",
    type=int,
    default=1,
    help="GPUs of a node; 0 for one CPU process a node",
  )
  flags.add_argument(
    "--cpus",
    type=int,
    help="CPUs of a process, for the loader's threads; by default processes "
    "share the CPUs that the job has on a node",
  )
  flags.add_argument(
    "--time", help="time limit before requeueing, such as 24:00:00"
  )
  flags.add_argument(
    "--notice",
    type=int,
    default=120,
    help="seconds before the limit at which a run stops and saves",
  )
  flags.add_argument(
    "--restarts",
    type=int,
    default=0,
    help="restarts of a job that fails",
  )
  flags.add_argument("--partition")
  flags.add_argument("--container", help="image for Pyxis")
  flags.add_argument(
    "--mount",
    action="append",
    default=[],
    metavar="FOLDER",
    help="further folder to mount in the container; may be repeated. The "
    "checkout, the workdir and the folders of config values are mounted anyway",
  )
  flags.add_argument(
    "--sbatch",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="further option of sbatch, such as account=me; may be repeated",
  )
  options, todo = jobs.parse(flags, argv)
  if options.nodes < 1 or options.gpus < 0:
    flags.error("--nodes must be at least 1 and --gpus at least 0")
  if options.notice < 1 or options.restarts < 0:
    flags.error("--notice must be at least 1 and --restarts at least 0")
  if options.cpus is not None and options.cpus < 1:
    flags.error(f"--cpus must be at least 1, found {options.cpus}")
  if (options.mount or options.container) and not options.container:
    flags.error("--mount needs a --container")
  bad = [path for path in options.mount if not MOUNT.fullmatch(path)]
  if bad:
    flags.error(
      f"--mount must be an absolute folder without , or :, found {bad}"
    )
  more = {
    "time": options.time,
    "partition": options.partition,
    "cpus-per-task": options.cpus and str(options.cpus),
    "signal": f"TERM@{options.notice}",
  }
  try:
    more |= jobs.pairs(options.sbatch, "--sbatch")
    check_time(more["time"], options.notice)
  except ValueError as error:
    flags.error(str(error))
  added = {
    "HYPERCLIP_CONTAINER": options.container or "",
    "HYPERCLIP_MOUNTS": ",".join(options.mount),
    "HYPERCLIP_RESTARTS": str(options.restarts),
  }
  for job in todo:
    line = command(job, options.nodes, options.gpus, more)
    if options.dry_run:
      variables = (f"{k}={shlex.quote(v)}" for k, v in added.items())
      print(f"{' '.join(variables)} {shlex.join(line)}")
      continue
    # SLURM does not create the folder of its output.
    pathlib.Path(job.workdir).mkdir(parents=True, exist_ok=True)
    try:
      done = subprocess.run(line, env=os.environ | added)
    except FileNotFoundError:
      flags.error("there is no sbatch here: submit where SLURM is installed")
    if done.returncode:
      return done.returncode
  return 0


def seconds(time: str) -> int:
  """Converts a time in SLURM's notation to seconds.

  Raises:
    ValueError: it has another notation.
  """
  match = TIME.fullmatch(time)
  if match is None:
    raise ValueError(
      f"--time must be MINUTES, H:M:S or DAYS-H:M:S, found {time!r}"
    )
  days, *rest = match.groups()
  first, second, third = (int(text or 0) for text in rest)
  if days is not None:
    return int(days) * 86_400 + first * 3_600 + second * 60 + third
  if rest[2] is not None:
    return first * 3_600 + second * 60 + third
  return first * 60 + second


def check_time(time: str | None, notice: int) -> None:
  """Checks that a run can make progress within its time limit.

  SLURM sends the signal up to a minute early. The run must start, compile and
  save in the time that is left, or it would be requeued forever.

  Args:
    time: time limit; None for that of the partition, which is unknown here.
    notice: seconds before the limit at which the run stops.

  Raises:
    ValueError: the limit is too short or malformed.
  """
  if time is None or time.lower() in ("infinite", "unlimited", "0"):
    return
  least = 2 * notice + 60
  if seconds(time) < least:
    raise ValueError(
      f"--time={time} is {seconds(time)} s: with a --notice of {notice} s it "
      f"must be at least {least} s, or the run stops before it makes progress"
    )


def command(
  job: jobs.Job, nodes: int, gpus: int, more: dict[str, str | None]
) -> list[str]:
  """Makes the command line of sbatch for a job.

  Args:
    job: job to run.
    nodes: number of nodes.
    gpus: number of GPUs on a node, each with a process; 0 for one process
      without GPU.
    more: further options by name; None leaves one out.

  Returns:
    Command line.
  """
  output = job.workdir.replace("%", "%%")  # % introduces fields of SLURM
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
