"""Real runs in real processes, to be killed; and what is left of them."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from hyperclip_jax import build, checkpoint, metrics, pretrained

ROOT = pathlib.Path(__file__).parents[2]
Process = subprocess.Popen[bytes]

# What tells of the clock, and of batches made ahead, and not of the run.
PASSING = re.compile(r"\w*_(second|seconds|share|records)|goodput|seconds")


class Job(NamedTuple):
  """What all runs of a test share.

  Attributes:
    data: folder for the scenes.
    cache: folder of compiled steps, so that only the first run compiles.
    config: what differs from the small config, by dotted names.
    devices: fake ones, of each process.
  """

  data: pathlib.Path
  cache: pathlib.Path
  config: dict[str, Any]
  devices: int = 1


def start(
  job: Job, workdir: pathlib.Path, distributed: dict[str, Any] | None = None
) -> Process:
  """A process of a run; what it says is appended to WORKDIR.N.log."""
  options = {
    "data": str(job.data),
    "config": job.config,
    "distributed": distributed,
  }
  flags = f"--xla_force_host_platform_device_count={job.devices}"
  which = distributed["process_id"] if distributed else 0
  with log(workdir, which).open("ab") as file:
    return subprocess.Popen(
      [sys.executable, "-m", "tests.faults.job", workdir, json.dumps(options)],
      cwd=ROOT,
      stderr=file,
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


def start_pair(job: Job, workdir: pathlib.Path) -> list[Process]:
  """The two processes of one run."""
  with socket.socket() as sock:
    sock.bind(("localhost", 0))
    address = f"localhost:{sock.getsockname()[1]}"
  return [
    start(
      job,
      workdir,
      {"coordinator_address": address, "num_processes": 2, "process_id": i},
    )
    for i in range(2)
  ]


def log(workdir: pathlib.Path, process: int = 0) -> pathlib.Path:
  return workdir.with_name(f"{workdir.name}.{process}.log")


def run(job: Job, workdir: pathlib.Path) -> str:
  """A whole run; returns what it said."""
  process = start(job, workdir)
  assert process.wait(timeout=900) == 0, log(workdir).read_text()
  return log(workdir).read_text()


def rows(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The trace of a run: each line of its metrics, as it stands in the file.

  But for the one on goodput, which tells of nothing but the clock.
  """
  lines = (workdir / metrics.FILE).read_text().splitlines()
  found = [
    {k: v for k, v in json.loads(line).items() if not PASSING.fullmatch(k)}
    for line in lines
  ]
  return [row for row in found if row.keys() != {"step"}]


def state(workdir: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  """The newest state of a run, on the host, and its meta."""
  shapes = jax.eval_shape(build.init(pretrained.read_config(workdir)))
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
  process: Process, condition: Callable[[], bool], seconds: float = 900.0
) -> bool:
  """Waits for a condition; false if the process ends before it."""
  end = time.monotonic() + seconds
  while not condition():
    if process.poll() is not None:
      return False
    assert time.monotonic() < end, "nothing came of it"
    time.sleep(0.001)
  return True


def makes_a_step(workdir: pathlib.Path) -> Callable[[], bool]:
  """Becomes true once the run that is started next has told of a step."""
  path = log(workdir)
  before = path.stat().st_size if path.exists() else 0

  def condition() -> bool:
    with path.open("rb") as file:
      file.seek(before)
      return b"\nstep " in b"\n" + file.read()

  return condition


def is_saving(workdir: pathlib.Path) -> Callable[[], bool]:
  """True in the middle of a save."""
  folder = workdir / checkpoint.FOLDER
  return lambda: any(folder.glob("*.orbax-checkpoint-tmp*/*"))


def kill_in_a_step(process: Process, workdir: pathlib.Path) -> bool:
  """kill -9 at this moment; false if the process ended before."""
  del workdir
  return kill(process)


def kill_in_a_save(process: Process, workdir: pathlib.Path) -> bool:
  """kill -9 in the middle of the next save; false if there is none."""
  return wait_until(process, is_saving(workdir)) and kill(process)


def kill(process: Process, number=signal.SIGKILL) -> bool:
  """Sends a signal and waits; false if the process had ended before."""
  if process.poll() is not None:
    return False
  process.send_signal(number)
  process.wait(timeout=300)
  return True


def run_with_faults(
  job: Job,
  workdir: pathlib.Path,
  faults: Iterable[Callable[[Process, pathlib.Path], bool]],
  rng: random.Random,
  spread: float,
) -> list[str]:
  """Starts a run again after each fault, until it comes to its end.

  Args:
    job: the run.
    workdir: of the run.
    faults: functions as `kill_in_a_step`, one for each life of the run.
    rng: of the moments.
    spread: the most seconds of training before a fault.

  Returns:
    A line for each fault that came in time.
  """
  told = []
  for fault in faults:
    begun = makes_a_step(workdir)
    process = start(job, workdir)
    alive = wait_until(process, begun)
    time.sleep(rng.uniform(0, spread))
    if not alive or not fault(process, workdir):
      break
    saved = checkpoint.steps(workdir)
    told.append(f"{fault.__name__} after step {made(workdir)}, kept {saved}")
    # A save may be under way, and the one before it is the last that counts.
    lost = made(workdir) - (saved[-1] if saved else 0)
    assert lost <= 2 * job.config["checkpoint.every"], told
  run(job, workdir)
  return told


def made(workdir: pathlib.Path) -> int:
  """The newest step in the metrics, of which the last line may be cut."""
  path = workdir / metrics.FILE
  if not path.exists():
    return 0
  lines = path.read_text().splitlines(keepends=True)
  whole = [line for line in lines if line.endswith("\n")]
  return json.loads(whole[-1])["step"] if whole else 0
