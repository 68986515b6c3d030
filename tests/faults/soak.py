"""A soak: runs of the shapes job with random faults, as long as one likes.

  python -m tests.faults.soak --workdir=DIR --minutes=60 --seed=0

One run is left in peace; others are killed in steps and in saves, stopped by
SIGTERM, and their newest checkpoint is damaged, until the time is over. Each
must end with the clean run's trace, parameters and optimiser, bit for bit. The
memory, file handles and threads of the processes are watched.
"""

import argparse
import collections
import os
import pathlib
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from hyperclip_jax import checkpoint
from tests.faults import processes
from tests.faults.processes import Job, kill_in_a_save, kill_in_a_step


class Watch:
  """Samples what the processes of runs hold, once a second.

  Attributes:
    samples: of each life, (seconds, MiB, file handles, threads) rows.
  """

  def __init__(self):
    self.samples: dict[int, list[tuple[float, float, int, int]]] = {}
    threading.Thread(target=self._sample, daemon=True).start()

  def _sample(self) -> None:
    while True:
      time.sleep(1)
      for child in pathlib.Path("/proc").glob("[0-9]*"):
        try:
          command = (child / "cmdline").read_bytes()
          status = (child / "status").read_text()
          ours = f"PPid:\t{os.getpid()}\n" in status
          if not ours or b"tests.faults.job" not in command:
            continue
          pages = int((child / "statm").read_text().split()[1])
          row = (
            time.monotonic(),
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            len(list((child / "fd").iterdir())),
            len(list((child / "task").iterdir())),
          )
        except OSError:  # it has just ended
          continue
        self.samples.setdefault(int(child.name), []).append(row)

  def report(self, settled: float) -> list[str]:
    """Slopes over each life, but for its first seconds."""
    slopes, handles, threads = [], [], []
    for rows in self.samples.values():
      table = np.array([r for r in rows if r[0] > rows[0][0] + settled])
      if len(table) >= 30:
        slopes.append(np.polyfit(table[:, 0], table[:, 1], 1)[0] * 60)
        handles.append(table[-1, 2] - table[0, 2])
        threads.append(table[-1, 3] - table[0, 3])
    if not slopes:
      return ["no life was long enough for a slope"]
    return [
      f"{len(slopes)} lives of 30 s and more after their first {settled:g} s:",
      f"  memory {statistics.median(slopes):+.2f} MiB a minute (median), "
      f"{max(slopes):+.2f} at most",
      f"  file handles {max(handles):+g} at most, threads {max(threads):+g}",
    ]


def stop(process: processes.Process, workdir: pathlib.Path) -> bool:
  """SIGTERM, as preemption sends it: saved, and exit code 0."""
  if not processes.kill(process, signal.SIGTERM):
    return False
  assert process.returncode == 0, processes.log(workdir).read_text()
  return True


def damaging(
  rng: random.Random,
) -> Callable[[processes.Process, pathlib.Path], bool]:
  """kill -9, and a file of the newest step is flipped, cut or removed."""

  def damage(process: processes.Process, workdir: pathlib.Path) -> bool:
    if not processes.kill(process):
      return False
    found = checkpoint.steps(workdir)
    if len(found) < 2:
      return True
    folder = workdir / checkpoint.FOLDER / str(found[-1])
    items = [folder / item for item in checkpoint.ITEMS]
    files = [p for item in items for p in sorted(item.rglob("*"))]
    path = rng.choice([p for p in files if p.is_file() and p.stat().st_size])
    data = bytearray(path.read_bytes())
    how = rng.choice(("flip", "cut", "remove"))
    if how == "flip":
      data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
      path.write_bytes(data)
    elif how == "cut":
      path.write_bytes(data[: rng.randrange(len(data))])
    else:
      path.unlink()
    return True

  return damage


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--minutes", type=float, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--steps", type=int, default=3_000, help="of a run")
  parser.add_argument("--every", type=int, default=100, help="steps a save")
  parser.add_argument("--faults", type=int, default=8, help="of a run, at most")
  parser.add_argument(
    "--spread", type=float, default=200, help="seconds a life"
  )
  parser.add_argument(
    "--settled", type=float, default=60, help="seconds of a life before slopes"
  )
  options = parser.parse_args()
  folder = options.workdir.absolute()
  folder.mkdir(parents=True)
  config = {
    "steps": options.steps,
    "log_every": 7,
    "checkpoint.every": options.every,
  }
  job = Job(folder / "data", folder / "cache", config)
  rng = random.Random(options.seed)
  faults = [kill_in_a_step, kill_in_a_save, stop, damaging(rng)]
  end = time.monotonic() + 60 * options.minutes
  processes.run(job, folder / "clean")
  wanted = processes.state(folder / "clean")
  rows = processes.rows(folder / "clean")
  watch, counts = Watch(), collections.Counter()
  runs = 0
  while time.monotonic() < end:
    workdir = folder / f"run{runs}"
    lives = [rng.choice(faults) for _ in range(options.faults)]
    told = processes.run_with_faults(job, workdir, lives, rng, options.spread)
    counts.update(line.split()[0] for line in told)
    found = processes.state(workdir)
    if not (
      processes.same_bits(found[0], wanted[0])
      and found[1] == wanted[1]
      and processes.rows(workdir) == rows
    ):
      sys.exit(f"LOST: {workdir} is not the clean run, after {told}")
    runs += 1
    print(f"run {runs} is the clean run after", *told, sep="\n  ", flush=True)
  print(f"{runs} runs, {sum(counts.values())} faults: {dict(counts)}")
  print("data lost: none")
  print(*watch.report(options.settled), sep="\n")


if __name__ == "__main__":
  main()
