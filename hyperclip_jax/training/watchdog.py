"""A run that stands still is ended, with the stack of every thread on disk.

A process whose peer died or stalled waits in a collective for ever; so does one
whose storage hangs. Ended, it can be started again.
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
KEEP = 10  # files of each process that has ended

# Seconds that the first step of a process may take, which compiles.
FIRST_STEP = 1_800.0

# Seconds for the main thread to leave in good order once another has died.
LEAVE = 10.0


class DeadThreadError(OSError):
  """A thread that the run depends on has died."""


class Watchdog:
  """Ends the process when no step completes for a while.

  Also keeps the stacks where JAX itself ends the process, as it does when the
  coordinator is lost, and ends one of several at once when it fails, as it does
  when a peer died: JAX would have it wait for that one to leave with it. When
  any thread dies of an error, the run ends with that error: what it was to do
  would never be done.

  Its clock stands still while the process does, so that a process that was
  suspended goes on.
  """

  def __init__(
    self, workdir: pathlib.Path, stall_seconds: float, slow_seconds: float
  ):
    """Makes one that watches nothing yet.

    Args:
      workdir: stacks go to its `stacks/process-N.TIME.PID.txt`.
      stall_seconds: without a step that end the process; 0 for never. An
        evaluation must take less; the first step has `FIRST_STEP` at least.
      slow_seconds: of waiting for one batch that are told.
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
    # A collective fails with one type in a step and with another in a save.
    # All come to the verdict of bad numbers at one step, and leave together.
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
    """Says that the run now waits for a "batch" or a "step"."""
    self._began, self._waits_for = self._now, what

  def stepped(self) -> None:
    """Says that a step was made, or something as good as one.

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
      # A longer one means that the process was suspended, or starved.
      self._now += min(now - before, 2 * tick)
      before, began = now, self._began
      slow = self._waits_for == "batch" and self._now - began > self._slow
      if slow and told != began:
        told = began
        console.say(  # a log could wait for its reader, and this with it
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
      pass  # the disk may be full, which is the error to be told

  def _end(self, reason: str, trace: str = "") -> None:
    """Writes the stacks, says so, and leaves without waiting for anybody."""
    try:
      faulthandler.dump_traceback(self._file)
    finally:
      console.end(
        f"{trace}error: process {jax.process_index()} ends: {reason}; the "
        f"stack of every thread is in {self._path}"
      )


def _tidy(folder: pathlib.Path, name: str) -> None:
  """Removes what ended processes left, but for the newest of their stacks."""
  found = sorted(folder.glob(f"{name}.*.txt"))
  full = [path for path in found if path.stat().st_size]
  for path in set(found) - set(full[-KEEP:]):
    path.unlink(missing_ok=True)
