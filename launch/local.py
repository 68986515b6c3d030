"""Runs a job on this machine, and restarts it when it fails.

  python -m launch.local --config=configs/shapes_tiny.py --workdir=runs/shapes \
    --processes=2 --restarts=3
"""

import contextlib
import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from launch import jobs

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 0.1  # seconds between polls of the processes


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the jobs in turn; returns the last nonzero exit code, or 0."""
  flags = jobs.parser(
    "Runs a job on this machine, and restarts it when it fails."
  )
  flags.add_argument(
    "--processes", type=int, default=1, help="processes of a job"
  )
  flags.add_argument(
    "--gpus", type=int, default=0, help="GPUs of a process; all by default"
  )
  flags.add_argument(
    "--restarts", type=int, default=3, help="restarts of a job that fails"
  )
  flags.add_argument(
    "--grace",
    type=float,
    default=30,
    help="seconds from SIGTERM to SIGKILL when another process has failed",
  )
  options, todo = jobs.parse(flags, argv)
  if options.processes < 1 or options.restarts < 0:
    flags.error("--processes must be at least 1 and --restarts at least 0")

  environ = dict(os.environ)
  if options.dry_run:  # The commands may be for another machine.
    needed = range(max(0, options.processes * options.gpus))
    environ.setdefault(VISIBLE, ",".join(map(str, needed)))

  def added() -> list[dict[str, str]]:
    # A new port each time: the last one may still be in use.
    return environments(options.processes, _free_port(), options.gpus, environ)

  try:
    added()
  except ValueError as error:
    flags.error(str(error))

  worst = 0
  with _signals() as signals:
    for job in todo:
      line = command(job, options.processes)
      if options.dry_run:
        print("\n".join(render(line, each) for each in added()))
        continue
      for left in reversed(range(options.restarts + 1)):
        code, stopped = run(line, added(), options.grace, signals)
        if stopped:
          return code
        if code == 0:
          break
        then = f"starting it again, {left} left" if left else "giving up"
        _say(f"{job.name} failed with {_name(code)}: {then}")
      else:
        worst = code
  return worst


def command(job: jobs.Job, processes: int) -> list[str]:
  """Makes the command line of each process.

  Args:
    job: job to run.
    processes: number of processes of the job.

  Returns:
    Command line.
  """
  join = ["--coordinator=auto"] if processes > 1 else []
  return [sys.executable, "-m", jobs.MODULE, *join, *job.args]


def environments(
  processes: int, port: int, gpus: int, environ: Mapping[str, str]
) -> list[dict[str, str]]:
  """Makes the environment variables to add for each process.

  Args:
    processes: number of processes.
    port: free port, for the coordinator in process 0.
    gpus: number of GPUs for each process; 0 makes all GPUs visible to all.
    environ: environment; its CUDA_VISIBLE_DEVICES may list the GPUs to use.

  Returns:
    Variables by name, for each process.

  Raises:
    ValueError: there are too few GPUs, or `gpus` is negative.
  """
  if gpus < 0:
    raise ValueError(f"--gpus must be at least 0, found {gpus}")
  count = gpus * processes
  visible = visible_gpus(environ) if count else []
  if len(visible) < count:
    raise ValueError(
      f"{processes} processes with {gpus} GPUs each need {count}, "
      f"{VISIBLE if VISIBLE in environ else 'this machine'} has {len(visible)}"
    )
  result = []
  for process in range(processes):
    added = {}
    if processes > 1:
      added["JAX_COORDINATOR_ADDRESS"] = f"localhost:{port}"
      added["JAX_NUM_PROCESSES"] = str(processes)
      added["JAX_PROCESS_ID"] = str(process)
    if gpus:
      mine = visible[process * gpus : (process + 1) * gpus]
      added[VISIBLE] = ",".join(mine)
    result.append(added)
  return result


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
  """Lists the GPUs of CUDA_VISIBLE_DEVICES, or all GPUs without it.

  As in CUDA, an empty or negative entry ends the list.

  Raises:
    ValueError: a GPU is listed twice, which makes CUDA hide all GPUs.
  """
  text = environ.get(VISIBLE)
  if text is None:
    return [str(number) for number in range(_installed())]
  entries = [entry.strip() for entry in text.split(",")]
  if len(set(entries)) < len(entries):
    raise ValueError(f"{VISIBLE}={text} lists a GPU twice")
  return list(
    itertools.takewhile(lambda e: e and not e.startswith("-"), entries)
  )


def _installed() -> int:
  """Counts the GPUs that nvidia-smi lists; 0 without it."""
  try:
    done = subprocess.run(
      ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60
    )
  except (OSError, subprocess.TimeoutExpired):
    return 0
  lines = done.stdout.splitlines() if done.returncode == 0 else []
  return sum(line.startswith("GPU ") for line in lines)


def render(argv: Sequence[str], added: Mapping[str, str]) -> str:
  """Formats a command for a shell.

  Args:
    argv: command line.
    added: environment variables to set for it.

  Returns:
    Quoted command.
  """
  variables = [f"{name}={shlex.quote(text)}" for name, text in added.items()]
  return " ".join([*variables, shlex.join(argv)])


def run(
  argv: Sequence[str],
  added: Sequence[Mapping[str, str]],
  grace: float,
  signals: list[int],
) -> tuple[int, bool]:
  """Runs one process for each environment until all have ended.

  When one fails the others get SIGTERM, and SIGKILL after the grace time.

  Args:
    argv: command line of each process.
    added: environment variables to add, for each process.
    grace: seconds from SIGTERM to SIGKILL.
    signals: numbers of received signals; they are removed from the list and
      passed on to the processes.

  Returns:
    First nonzero exit code or 0, and whether a signal was passed on.
  """
  processes = [
    # A new session: otherwise Ctrl-C would reach a process twice, from the
    # terminal and from here, and the second one ends a run without saving.
    subprocess.Popen(argv, env=os.environ | each, start_new_session=True)
    for each in added
  ]
  stopped = False
  try:
    while True:
      while signals:
        stopped = True
        _send(processes, signals.pop(0))
      codes = [process.poll() for process in processes]
      if bad := next(filter(None, codes), None):
        return bad if bad > 0 else 128 - bad, stopped
      if None not in codes:
        return 0, stopped
      time.sleep(POLL)
  finally:
    _end(processes, grace)


def _end(processes: list[subprocess.Popen[bytes]], grace: float) -> None:
  _send(processes, signal.SIGTERM)
  deadline = time.monotonic() + grace
  for process in processes:
    try:
      process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()


def _send(processes: list[subprocess.Popen[bytes]], number: int) -> None:
  for process in processes:
    process.send_signal(number)  # a no-op if the process has ended


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Context manager that collects SIGINT, SIGTERM and SIGHUP in a list."""
  came: list[int] = []
  before = {
    number: signal.signal(number, lambda number, _: came.append(number))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
  }
  try:
    yield came
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _free_port() -> int:
  with socket.socket() as sock:
    sock.bind(("", 0))
    return sock.getsockname()[1]


def _name(code: int) -> str:
  return f"exit code {code}" + (
    f" ({signal.Signals(code - 128).name})"
    if code - 128 in set(signal.Signals)
    else ""
  )


def _say(message: str) -> None:
  print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
  sys.exit(main())
