"""A run that stands still is ended, with the stack of every thread on disk.

A process whose peer died or stalled waits in a collective for ever; so does one
whose storage hangs. Ended, it can be started again.
"""

import faulthandler
import os
import pathlib
import sys
import threading
import time
import traceback

import jax
from absl import logging

from hyperclip_jax.health import BadNumbersError

FOLDER = "stacks"
EXIT_CODE = 1

# Seconds that the first step of a process may take, which compiles.
FIRST_STEP = 1_800.0


class Watchdog:
  """Ends the process when no step completes for a while.

  Also keeps the stacks where JAX itself ends the process, as it does when the
  coordinator is lost, and ends one of several at once when it fails, as it does
  when a peer died: JAX would have it wait for that one to leave with it.
  """

  def __init__(
    self, workdir: pathlib.Path, stall_seconds: float, slow_seconds: float
  ):
    """Args:
    workdir: stacks go to its `stacks/process-N.txt`.
    stall_seconds: without a step that end the process; 0 for never. An
      evaluation must take less; the first step has `FIRST_STEP` at least.
    slow_seconds: of waiting for one batch that are told.
    """
    self._path = workdir / FOLDER / f"process-{jax.process_index()}.txt"
    self._stall = stall_seconds
    self._limit = max(stall_seconds, FIRST_STEP)
    self._slow = slow_seconds
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)
    self._stepped = self._began = time.monotonic()
    self._waits_for = "step"

  def __enter__(self) -> "Watchdog":
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._file = self._path.open("w")
    self._catches = not faulthandler.is_enabled()
    if self._catches:
      faulthandler.enable(self._file)
    self._stepped = self._began = time.monotonic()
    self._thread.start()
    return self

  def __exit__(self, kind: object, error: BaseException | None, *_) -> None:
    # A collective fails with one type in a step and with another in a save.
    # All come to the verdict of bad numbers at one step, and leave together.
    failed = isinstance(error, Exception)
    agreed = isinstance(error, BadNumbersError)
    if failed and not agreed and jax.process_count() > 1:
      traceback.print_exc()
      self._end(f"{error}")
    self._stop.set()
    self._thread.join()
    if self._catches:
      faulthandler.disable()
    self._file.close()
    if not self._path.stat().st_size:
      self._path.unlink()

  def waits_for(self, what: str) -> None:
    """Says that the run now waits for a "batch" or a "step"."""
    self._began, self._waits_for = time.monotonic(), what

  def stepped(self) -> None:
    """Says that a step was made, or something as good as one."""
    self._stepped, self._limit = time.monotonic(), self._stall

  def _watch(self) -> None:
    told = None
    tick = min([1.0, self._slow, self._stall or 1.0]) / 4
    while not self._stop.wait(tick):
      now, began = time.monotonic(), self._began
      slow = self._waits_for == "batch" and now - began > self._slow
      if slow and told != began:
        told = began
        logging.warning(
          "the loader has stalled: a batch takes more than %g s; look at the "
          "storage of the shards, or raise config.data.threads",
          self._slow,
        )
      if self._stall and now - self._stepped > self._limit:
        self._end(
          f"no step for {self._limit:g} s (config.stall_seconds), waiting for "
          f"a {self._waits_for}"
        )

  def _end(self, reason: str) -> None:
    """Writes the stacks, says so, and leaves without waiting for anybody."""
    faulthandler.dump_traceback(self._file)
    print(
      f"error: process {jax.process_index()} ends: {reason}; the stack of "
      f"every thread is in {self._path}",
      file=sys.stderr,
      flush=True,
    )
    os._exit(EXIT_CODE)
