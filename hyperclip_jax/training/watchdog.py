"""Ends a run that has stalled, and saves the stack of every thread.

A process whose peer has died or stalled waits in a collective forever, and so
does one whose storage hangs. Once it has ended it can be restarted.
"""

import faulthandler
import os
import pathlib
import threading
import time
import traceback

import jax

from hyperclip_jax import console
from hyperclip_jax.training.health import BadNumbersError

FOLDER = "stacks"
KEEP = 10  # stack files to keep for each process

# Seconds that the first step, which compiles, may take.
FIRST_STEP = 1_800.0

# Seconds that the main thread has to exit after another thread has died.
LEAVE = 10.0


class DeadThreadError(OSError):
  """Raised when a thread that the run depends on has died."""


class Watchdog:
  """Context manager that ends the process when no step completes in time.

  It covers three more cases:

  - JAX ends the process itself, as when the coordinator is lost: the stacks are
    saved.
  - One of several processes fails: it ends at once, instead of waiting for a
    peer that may be dead.
  - Any thread dies of an error: the run ends with that error, as the work of
    the thread would never be done.

  Its clock stops while the process is suspended, so that a process that is
  resumed carries on.
  """

  def __init__(
    self, workdir: pathlib.Path, stall_seconds: float, slow_seconds: float
  ):
    """Configures the watchdog; `with` starts it.

    Args:
      workdir: folder of the run; stacks are written to its
        `stacks/process-N.TIME.PID.txt`.
      stall_seconds: seconds without a step after which the process is ended; 0
        for never. It must exceed the time of an evaluation; the first step has
        at least `FIRST_STEP`.
      slow_seconds: seconds of waiting for one batch after which the loader is
        reported.
    """
    self._folder = workdir / FOLDER
    self._stall = stall_seconds
    self._limit = max(stall_seconds, FIRST_STEP)
    self._slow = slow_seconds
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._now = self._stepped = self._began = 0.0
    self._waits_for = "step"
    self._death: tuple[float, str] | None = None

  def __enter__(self) -> "Watchdog":
    name = f"process-{jax.process_index()}"
    self._folder.mkdir(parents=True, exist_ok=True)
    _tidy(self._folder, name)
    now = time.strftime("%Y%m%d-%H%M%S")
    self._path = self._folder / f"{name}.{now}.{os.getpid()}.txt"
    self._file = self._path.open("w", errors="backslashreplace")
    self._catches = not faulthandler.is_enabled()
    if self._catches:
      faulthandler.enable(self._file)
    self._hook = threading.excepthook
    threading.excepthook = self._thread_died
    self._thread.start()
    return self

  def __exit__(self, kind: object, error: BaseException | None, *_) -> None:
    # A failing collective raises different types in a step and in a save. Only
    # BadNumbersError is raised by all processes at the same step.
    failed = isinstance(error, Exception)
    agreed = isinstance(error, BadNumbersError)
    if failed and not agreed and jax.process_count() > 1:
      self._end(f"{error}", f"{''.join(traceback.format_exception(error))}\n")
    self._stop.set()
    self._thread.join()
    threading.excepthook = self._hook
    if self._catches:
      faulthandler.disable()
    empty = not os.fstat(self._file.fileno()).st_size
    self._file.close()
    if empty:
      self._path.unlink(missing_ok=True)

  def waits_for(self, what: str) -> None:
    """Records that the run now waits for a "batch" or a "step"."""
    self._began, self._waits_for = self._now, what

  def stepped(self) -> None:
    """Records progress: a step, or other work that takes as long.

    Raises:
      DeadThreadError: some thread has died of an error.
    """
    self._stepped, self._limit = self._now, self._stall
    if self._death:
      raise DeadThreadError(self._death[1])

  def _watch(self) -> None:
    told = None
    tick = min([1.0, self._slow, self._stall or 1.0]) / 4
    before = time.monotonic()
    while not self._stop.wait(tick):
      now = time.monotonic()
      # A longer interval means that the process was suspended or starved.
      self._now += min(now - before, 2 * tick)
      before, began = now, self._began
      slow = self._waits_for == "batch" and self._now - began > self._slow
      if slow and told != began:
        told = began
        console.say(  # logging could block on a full pipe, and this thread too
          f"the loader has stalled: a batch takes more than {self._slow:g} s; "
          "look at the storage of the shards, or raise config.data.threads"
        )
      if self._death and self._now - self._death[0] > LEAVE:
        self._end(self._death[1])
      if self._stall and self._now - self._stepped > self._limit:
        self._end(
          f"no step for {self._limit:g} s (config.stall_seconds), waiting for "
          f"a {self._waits_for}"
        )

  def _thread_died(self, args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
      return
    name = args.thread.name if args.thread else "?"
    trace = traceback.format_exception(
      args.exc_type, args.exc_value, args.exc_traceback
    )
    self._write("".join(trace))
    self._death = (
      self._now,
      (
        f"thread {name} died of {args.exc_type.__name__}: {args.exc_value} "
        f"({self._path})"
      ),
    )

  def _write(self, text: str) -> None:
    try:
      self._file.write(text)
      self._file.flush()
    except (OSError, ValueError):
      pass  # the disk may be full, which is then the error to report

  def _end(self, reason: str, trace: str = "") -> None:
    """Saves the stacks, prints where, and exits without waiting."""
    try:
      faulthandler.dump_traceback(self._file)
    finally:
      console.end(
        f"{trace}error: process {jax.process_index()} ends: {reason}; the "
        f"stack of every thread is in {self._path}"
      )


def _tidy(folder: pathlib.Path, name: str) -> None:
  """Removes empty stack files of earlier processes, and all but the newest."""
  found = sorted(folder.glob(f"{name}.*.txt"))
  full = [path for path in found if path.stat().st_size]
  for path in set(found) - set(full[-KEEP:]):
    path.unlink(missing_ok=True)
