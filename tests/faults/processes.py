"""Real runs in real processes, to be killed; and what is left of them."""

import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, Any, NamedTuple

import jax

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.training import build, sharding, watchdog
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import log as log_lib

ROOT = pathlib.Path(__file__).parents[2]

# What tells of the clock and not of the run.
PASSING = re.compile(r"\w*_(second|seconds|share)|goodput|seconds")


class Job(NamedTuple):
  """What all runs of a test share.

  Attributes:
    data: folder for the scenes.
    cache: folder of compiled steps, so that only the first run compiles.
    config: what differs from the small config, by dotted names.
    processes: of a run, joined by `jax.distributed`.
    devices: fake ones, of each process.
    bad_every: steps from one batch with bad numbers to the next; 0 for none.
    piped: what a process says goes through a reader, which can be killed.
    report: one is made at the end.
  """

  data: pathlib.Path
  cache: pathlib.Path
  config: dict[str, Any]
  processes: int = 1
  devices: int = 1
  bad_every: int = 0
  piped: bool = False
  report: bool = False


class Life(NamedTuple):
  """The processes of a run, from a start of it until they end."""

  job: Job
  workdir: pathlib.Path
  processes: list[subprocess.Popen[bytes]]
  readers: list[subprocess.Popen[bytes]]

  def ended(self) -> bool:
    """Whether one of them has."""
    return any(process.poll() is not None for process in self.processes)

  def wait(self, seconds: float = 900.0) -> list[int]:
    """Waits for all; their exit codes."""
    codes = [process.wait(seconds) for process in self.processes]
    for reader in self.readers:
      reader.wait(seconds)
    return codes

  def send(self, number: int) -> None:
    """Sends a signal to all."""
    for process in self.processes:
      process.send_signal(number)

  def said(self) -> str:
    return "".join(
      f"process {i}:\n{log(self.workdir, i).read_text()}"
      for i in range(len(self.processes))
    )


# Does something to a life, at moments of its choice; says what, or nothing if
# the run came to its end before. It is called when the run has said what
# AFTER has for its name: a step, unless told otherwise.
Fault = Callable[[Life, random.Random], str]
AFTER = {"stop_at_the_start": b"listens", "stop_in_the_report": b"goodput"}


def start(job: Job, workdir: pathlib.Path) -> Life:
  """Starts a run; what process I says is appended to WORKDIR.I.log."""
  places = [None]
  if job.processes > 1:
    with socket.socket() as sock:
      sock.bind(("localhost", 0))
      address = f"localhost:{sock.getsockname()[1]}"
    places = [
      {
        "coordinator_address": address,
        "num_processes": job.processes,
        "process_id": i,
      }
      for i in range(job.processes)
    ]
  life = Life(job, workdir, [], [])
  for i, place in enumerate(places):
    with log(workdir, i).open("ab") as file:
      if not job.piped:
        life.processes.append(_process(job, workdir, place, file))
        continue
      reader = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=file, start_new_session=True
      )
      assert reader.stdin
      with reader.stdin as pipe:
        life.processes.append(_process(job, workdir, place, pipe))
      life.readers.append(reader)
  return life


def _process(
  job: Job,
  workdir: pathlib.Path,
  distributed: dict[str, Any] | None,
  output: IO[bytes],
) -> subprocess.Popen[bytes]:
  options = {
    "data": str(job.data),
    "config": job.config,
    "bad_every": job.bad_every,
    "report": job.report,
    "distributed": distributed,
  }
  flags = f"--xla_force_host_platform_device_count={job.devices}"
  return subprocess.Popen(
    [sys.executable, "-m", "tests.faults.job", workdir, json.dumps(options)],
    cwd=ROOT,
    stdout=output,
    stderr=subprocess.STDOUT,
    start_new_session=True,
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": flags,
      "JAX_COMPILATION_CACHE_DIR": str(job.cache),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "JAX_NUMPY_RANK_PROMOTION": "allow",
      "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    },
  )


def log(workdir: pathlib.Path, process: int = 0) -> pathlib.Path:
  return workdir.with_name(f"{workdir.name}.{process}.log")


def run(job: Job, workdir: pathlib.Path) -> None:
  """A whole run, or what is left of it."""
  life = start(job, workdir)
  assert not any(life.wait(seconds=3_600.0)), life.said()


def rows(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The trace of a run: each line of its metrics, as it stands in the file.

  But for the one on goodput, which tells of nothing but the clock.
  """
  lines = (workdir / log_lib.FILE).read_text().splitlines()
  found = [
    {k: v for k, v in json.loads(line).items() if not PASSING.fullmatch(k)}
    for line in lines
  ]
  return [row for row in found if row.keys() != {"step"}]


def state(workdir: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  """The newest state of a run, on the host, and its meta."""
  config = config_lib.read(workdir)
  task = build.task(config, sharding.make_mesh())
  shapes = jax.eval_shape(build.init(config, task))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  like = checkpoint.abstract(shapes, jax.tree.map(lambda _: device, shapes))
  with checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
    found, meta = checkpoints.restore(like)
  return jax.device_get(found), meta


def same_bits(a: Any, b: Any) -> bool:
  """Whether two trees hold the same bytes."""
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(x.tobytes() == y.tobytes() for x, y in pairs)


def wait_until(
  life: Life, condition: Callable[[], bool], seconds: float = 900.0
) -> bool:
  """Waits for a condition; false if a process ends before it."""
  end = time.monotonic() + seconds
  while not condition():
    if life.ended():
      return False
    assert time.monotonic() < end, "nothing came of it"
    time.sleep(0.001)
  return True


def let_run(life: Life, seconds: float) -> None:
  """Waits for so long, or until a process ends."""
  moment = time.monotonic() + seconds
  wait_until(life, lambda: time.monotonic() > moment)


def says(workdir: pathlib.Path, words: bytes) -> Callable[[], bool]:
  """Becomes true once the run that is started next has begun a line so."""
  path = log(workdir)
  before = path.stat().st_size if path.exists() else 0

  def condition() -> bool:
    with path.open("rb") as file:
      file.seek(before)
      return re.search(b"(?m)^" + words, file.read()) is not None

  return condition


def is_saving(workdir: pathlib.Path) -> Callable[[], bool]:
  """True in the middle of a save."""
  folder = workdir / checkpoint.FOLDER
  return lambda: any(folder.glob("*.orbax-checkpoint-tmp*/*"))


def kill_in_a_step(life: Life, rng: random.Random) -> str:
  """kill -9 of one process, at this moment."""
  return kill(life, rng)


def kill_in_a_save(life: Life, rng: random.Random) -> str:
  """kill -9 of one process, in the middle of the next save."""
  wait_until(life, is_saving(life.workdir))
  return kill(life, rng)


def kill(life: Life, rng: random.Random) -> str:
  """kill -9 of one; the others end by themselves, and leave their stacks."""
  if life.ended():
    return ""
  victim = rng.randrange(len(life.processes))
  life.processes[victim].kill()
  begin = time.monotonic()
  codes = life.wait()
  for i, code in enumerate(codes):
    if i != victim and made(life.workdir) < life.job.config["steps"]:
      assert code != 0, life.said()
      assert "hread 0x" in stacks(life.workdir, i), life.said()
  seconds = time.monotonic() - begin
  return f"process {victim}, codes {codes} after {seconds:.1f} s"


def stacks(workdir: pathlib.Path, process: int) -> str:
  """The newest stacks of a process that ended."""
  folder = workdir / watchdog.FOLDER
  return max(folder.glob(f"process-{process}.*.txt")).read_text()


def run_with_faults(
  lives: Iterable[tuple[Job, Fault]],
  workdir: pathlib.Path,
  rng: random.Random,
  spread: float,
) -> list[str]:
  """Starts a run again after each fault, until it comes to its end.

  Args:
    lives: what each life of the run is, and what becomes of it; the last is
      lived on to the end.
    workdir: of the run.
    rng: of the moments.
    spread: the most seconds of training before a fault; most come early.

  Returns:
    A line for each fault that came in time.
  """
  told = []
  for job, fault in lives:
    begun = says(workdir, AFTER.get(fault.__name__, rb" *[\d,]+/[\d,]+  loss"))
    life = start(job, workdir)
    if wait_until(life, begun) and fault.__name__ not in AFTER:
      let_run(life, spread * rng.random() ** 2)
    done = fault(life, rng)
    if not done:
      assert not any(life.wait()), life.said()
      return told
    saved = checkpoint.steps(workdir)
    told.append(
      f"{fault.__name__} of {job.processes}: {done}; "
      f"made {made(workdir)} steps, kept {saved}"
    )
    # A save may be under way, and the one before it is the last that counts.
    lost = made(workdir) - (saved[-1] if saved else 0)
    assert lost <= 2 * job.config["checkpoint.every"], told
  run(job, workdir)
  return told


def made(workdir: pathlib.Path) -> int:
  """The newest step in the metrics, of which the last line may be cut."""
  path = workdir / log_lib.FILE
  if not path.exists():
    return 0
  lines = path.read_text().splitlines(keepends=True)
  whole = [line for line in lines if line.endswith("\n")]
  return json.loads(whole[-1])["step"] if whole else 0
