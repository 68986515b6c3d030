"""A soak: runs of the shapes job with random faults, as long as one likes.

  python -m tests.faults.soak --workdir=DIR --minutes=60 --seed=0

Runs of one process and of two, in turn. A clean one of each is left in peace;
in the others processes are killed in steps and in saves, stopped by SIGTERM and
SIGHUP, at the start and in the last report, suspended, and robbed of the reader
of their log, and the newest checkpoint is damaged. Of two processes one is hit,
and the other must end by itself. Some batches hold bad numbers. Each run must
end with the clean run's trace, parameters and optimiser, bit for bit. The
memory, file handles and threads of the processes are watched
(DIR/samples.json), and none may be left over.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import random
import re
import signal
import sys
import threading
import time

import numpy as np

from hyperclip_jax.checkpoints import checkpoint
from tests.faults import processes
from tests.faults.job import STOPPED
from tests.faults.processes import Job, Life, kill_in_a_save, kill_in_a_step


class Watch:
  """Samples what the processes of runs hold, once a second.

  Attributes:
    samples: of each process, (seconds, MiB, file handles, threads) rows.
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
          # Not the pages of files, which the kernel drops as it likes.
          memory = re.search(r"RssAnon:\s+(\d+) kB", status)
          if not (ours and memory and b"tests.faults.job" in command):
            continue
          row = (
            time.monotonic(),
            int(memory[1]) / 2**10,
            len(list((child / "fd").iterdir())),
            len(list((child / "task").iterdir())),
          )
        except OSError:  # it has just ended
          continue
        self.samples.setdefault(int(child.name), []).append(row)

  def left(self) -> list[int]:
    """Processes that are there still, of those watched and what they began.

    Each was the first of a session, which its children are in, orphans too.
    """
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
      try:
        if os.getsid(int(path.name)) in self.samples:
          found.append(int(path.name))
      except ProcessLookupError:
        continue
    return found

  def report(self, settled: float) -> list[str]:
    """What each minute added over each process's life, but for its beginning.

    Args:
      settled: seconds of the beginning; the life must be twice as long.
    """
    tables = [np.array(rows) for rows in self.samples.values()]
    tables = [table - [table[0, 0], 0, 0, 0] for table in tables]
    tables = [t[t[:, 0] > settled] for t in tables if t[-1, 0] > 2 * settled]
    if not tables:
      return ["no life was long enough for a slope"]
    minutes = np.array([(t[-1, 0] - t[0, 0]) / 60 for t in tables])
    slopes = np.array(
      [60 * np.polyfit(t[:, 0], t[:, 1:], 1)[0] for t in tables]
    )
    longest = tables[int(np.argmax(minutes))]
    lines = [
      f"{len(tables)} of {len(self.samples)} processes lived {2 * settled:g} s "
      f"and more; of the {minutes.sum():.0f} minutes after their first "
      f"{settled:g} s, a minute added:"
    ]
    for i, what in enumerate(("MiB of memory", "file handles", "threads")):
      mean = np.average(slopes[:, i], weights=minutes)
      first, last = (
        np.median(part, axis=0)
        for part in np.array_split(longest[:, 1 + i], 10)[::9]
      )
      lines.append(
        f"  {mean:+.2f} {what} in the mean, {np.min(slopes[:, i]):+.2f} to "
        f"{np.max(slopes[:, i]):+.2f}; {first:.0f} to {last:.0f} in the "
        f"longest, of {minutes.max():.1f} minutes"
      )
    return lines


def stop(life: Life, rng: random.Random) -> str:
  """SIGTERM to one, as preemption sends it: all save, and exit with 75."""
  return _stop(life, rng, signal.SIGTERM)


def hang_up(life: Life, rng: random.Random) -> str:
  """SIGHUP to one, as a terminal that closes sends it: likewise."""
  return _stop(life, rng, signal.SIGHUP)


def suspend(life: Life, rng: random.Random) -> str:
  """SIGSTOP to all, SIGCONT after some seconds: the run goes on."""
  seconds = rng.uniform(1, 8)
  life.send(signal.SIGSTOP)
  time.sleep(seconds)
  life.send(signal.SIGCONT)
  processes.let_run(life, rng.random())
  done = _stop(life, rng, signal.SIGTERM)
  return done and f"for {seconds:.1f} s, then {done}"


def lose_the_reader(life: Life, rng: random.Random) -> str:
  """kill -9 of who reads what the run says: the run goes on."""
  for reader in life.readers:
    reader.kill()
  processes.let_run(life, 2 * rng.random())
  return _stop(life, rng, signal.SIGTERM)


def stop_at_the_start(life: Life, rng: random.Random) -> str:
  """SIGTERM to all, while they import, meet, restore or compile."""
  seconds = rng.uniform(0, 12)
  processes.let_run(life, seconds)
  if life.ended():
    return ""
  life.send(signal.SIGTERM)
  codes = life.wait()
  # Of two, one may leave before the other has met it.
  good = {0, 1, STOPPED} if len(codes) > 1 else {0, STOPPED}
  assert set(codes) <= good, life.said()
  return f"after {seconds:.1f} s, codes {codes}"


def stop_in_the_report(life: Life, rng: random.Random) -> str:
  """SIGTERM to all in the last evaluation; the report is made at last."""
  processes.let_run(life, rng.random())
  if life.ended():
    return ""
  life.send(signal.SIGTERM)
  codes = life.wait()
  assert codes[0] in (0, STOPPED), life.said()
  made = (life.workdir / "report.html").exists()
  assert made or codes[0] == STOPPED, life.said()
  return f"codes {codes}"


def _stop(life: Life, rng: random.Random, number: int) -> str:
  steps = life.job.config["steps"]
  if life.ended() or processes.made(life.workdir) >= steps:
    return ""
  which = rng.randrange(len(life.processes))
  life.processes[which].send_signal(number)
  codes = life.wait()
  if processes.made(life.workdir) >= steps and set(codes) <= {0, STOPPED}:
    return ""  # it came with the last step
  assert set(codes) == {STOPPED}, (codes, life.said())
  saved = checkpoint.steps(life.workdir)[-1]
  assert saved >= processes.made(life.workdir), life.said()
  return f"process {which}, all saved step {saved}"


def damage(life: Life, rng: random.Random) -> str:
  """kill -9, and a file of the newest step is flipped, cut or removed."""
  processes.wait_until(life, lambda: len(checkpoint.steps(life.workdir)) > 1)
  done = processes.kill(life, rng)
  if not done:
    return ""
  found = checkpoint.steps(life.workdir)
  folder = life.workdir / checkpoint.FOLDER / str(found[-1])
  items = [folder / item for item in checkpoint.ITEMS]
  files = [p for item in items for p in sorted(item.rglob("*"))]
  path = rng.choice([p for p in files if p.is_file() and p.stat().st_size])
  data = bytearray(path.read_bytes())
  how = rng.choice(("flipped", "cut", "removed"))
  if how == "flipped":
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
  elif how == "cut":
    path.write_bytes(data[: rng.randrange(len(data))])
  else:
    path.unlink()
  return f"{done}, {path.relative_to(folder.parent)} {how}"


FAULTS = (
  kill_in_a_step,
  kill_in_a_save,
  stop,
  hang_up,
  suspend,
  lose_the_reader,
  stop_at_the_start,
  damage,
)


def parse_args() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument(
    "--minutes", type=float, default=60, help="no run begins that takes longer"
  )
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--steps",
    type=int,
    nargs=2,
    default=(3_500, 1_200),
    help="of a run of one process, and of two",
  )
  parser.add_argument("--every", type=int, default=50, help="steps a save")
  parser.add_argument("--faults", type=int, default=8, help="of a run, at most")
  parser.add_argument(
    "--spread", type=float, default=80, help="most seconds to a fault"
  )
  parser.add_argument(
    "--settled", type=float, default=120, help="seconds of a life before slopes"
  )
  return parser.parse_args()


def is_clean(workdir: pathlib.Path, clean: pathlib.Path) -> bool:
  """Whether a run ended as the clean one, bit for bit."""
  (state, meta), (wanted, wanted_meta) = map(processes.state, (workdir, clean))
  return (
    processes.same_bits(state, wanted)
    and meta == wanted_meta
    and processes.rows(workdir) == processes.rows(clean)
  )


def main() -> None:
  options = parse_args()
  end = time.monotonic() + 60 * options.minutes
  folder = options.workdir.absolute()
  folder.mkdir(parents=True)
  watch, rng = Watch(), random.Random(options.seed)
  jobs, takes = {}, {}  # what a run of a job may take, in seconds
  for count, steps in enumerate(options.steps, 1):
    config = {
      "steps": steps,
      "log_every": 7,
      "checkpoint.every": options.every,
      "stall_seconds": 120,
    }
    job = Job(
      folder / "data",
      folder / "cache",
      config,
      count,
      bad_every=101,
      piped=True,
      report=True,
    )
    clean, begin = folder / f"clean{count}", time.monotonic()
    processes.run(job, clean)
    jobs[clean], takes[clean] = job, 2 * (time.monotonic() - begin)
  faults, runs = collections.Counter(), 0
  for clean, job in itertools.cycle(jobs.items()):
    begin = time.monotonic()
    if begin + takes[clean] > end:
      break
    workdir = folder / f"run{runs}"
    lives = [(job, rng.choice(FAULTS)) for _ in range(options.faults)]
    lives.append((job, stop_in_the_report))
    told = processes.run_with_faults(lives, workdir, rng, options.spread)
    faults.update(line.split(":")[0] for line in told)
    if not is_clean(workdir, clean):
      sys.exit(f"LOST: {workdir} is not {clean}, after {told}")
    if left := watch.left():
      sys.exit(f"LEFT: {workdir} has ended, and processes {left} have not")
    (folder / "samples.json").write_text(json.dumps(watch.samples))
    runs += 1
    takes[clean] = time.monotonic() - begin
    print(f"run {runs} is {clean.name} after", *told, sep="\n  ", flush=True)
  print(f"{runs} runs, {faults.total()} faults: {dict(faults)}")
  print("data lost: none; processes left: none")
  print(*watch.report(options.settled), sep="\n")


if __name__ == "__main__":
  main()
