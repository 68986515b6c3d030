"""Runs a job on this machine, and again where it fails.

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
POLL = 0.1  # seconds between looks at the processes


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the jobs one after another; the last bad exit code, or 0."""
  flags = jobs.parser("Runs a job on this machine, and again where it fails.")
  flags.add_argument("--processes", type=int, default=1, help="of each job")
  flags.add_argument(
    "--gpus", type=int, default=0, help="of each process, where not all"
  )
  flags.add_argument(
    "--restarts", type=int, default=3, help="how often a job may fail"
  )
  flags.add_argument(
    "--grace",
    type=float,
    default=30,
    help="seconds from SIGTERM to SIGKILL where another process has failed",
  )
  options, todo = jobs.parse(flags, argv)
  if options.processes < 1 or options.restarts < 0:
    flags.error("--processes must be at least 1 and --restarts at least 0")

  environ = dict(os.environ)
  if options.dry_run:  # It may be printed for another machine.
    needed = range(max(0, options.processes * options.gpus))
    environ.setdefault(VISIBLE, ",".join(map(str, needed)))

  def added() -> list[dict[str, str]]:
    # A port anew each time: the last one may still be held.
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
  """What each process runs."""
  join = ["--coordinator=auto"] if processes > 1 else []
  return [sys.executable, "-m", jobs.MODULE, *join, *job.args]


def environments(
  processes: int, port: int, gpus: int, environ: Mapping[str, str]
) -> list[dict[str, str]]:
  """What is added to the environment of each process.

  Args:
    processes: how many there are.
    port: a free one, for process 0.
    gpus: of each process; 0 shows every process all of them.
    environ: environment, whose CUDA_VISIBLE_DEVICES may list the GPUs to use.

  Raises:
    ValueError: there are not enough GPUs, or `gpus` is negative.
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
  """What CUDA_VISIBLE_DEVICES lists, or else the numbers of the GPUs here.

  As CUDA reads it, the list ends before an empty or a negative entry.

  Raises:
    ValueError: a GPU is listed twice, of which CUDA would make none.
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
  """How many GPUs nvidia-smi lists; 0 without it."""
  try:
    done = subprocess.run(
      ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60
    )
  except (OSError, subprocess.TimeoutExpired):
    return 0
  lines = done.stdout.splitlines() if done.returncode == 0 else []
  return sum(line.startswith("GPU ") for line in lines)


def render(argv: Sequence[str], added: Mapping[str, str]) -> str:
  """A command as a shell takes it."""
  variables = [f"{name}={shlex.quote(text)}" for name, text in added.items()]
  return " ".join([*variables, shlex.join(argv)])


def run(
  argv: Sequence[str],
  added: Sequence[Mapping[str, str]],
  grace: float,
  signals: list[int],
) -> tuple[int, bool]:
  """Runs one process for each environment until all have ended.

  When one fails the others are ended: by SIGTERM, and by SIGKILL after the
  grace time.

  Args:
    argv: the command of all.
    added: to the environment, for each process.
    grace: seconds.
    signals: numbers of signals that came in; they are taken from here and
      passed to the processes.

  Returns:
    The first bad exit code or 0, and whether a signal was passed on.
  """
  processes = [
    # A session of its own, or Ctrl-C would come from the terminal and from
    # here, and the second one ends a run without saving.
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
    process.send_signal(number)  # does nothing to one that has ended


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """SIGINT, SIGTERM and SIGHUP as they come, instead of their effect."""
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
