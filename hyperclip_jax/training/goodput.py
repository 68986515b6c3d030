"""Accounts for the wall time of a run: steps, input, and overhead."""

import collections
import contextlib
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax

from hyperclip_jax.training import progress

Batch = Mapping[str, Any]  # any tree of arrays
T = TypeVar("T")

# Time that is not spent on training, in the order of the report.
OVERHEAD = ("start", "compile", "checkpoint", "evaluation")


class Clock:
  """Measures how long the host of one process spends on each activity.

  Steps are dispatched asynchronously. `data`, the wait for a batch, is free as
  long as the host also waits for the `device` when it fetches metrics: the
  device then still had work queued and never idled for lack of data.
  """

  def __init__(self):
    self._begin = self._last = time.monotonic()
    self._seconds: dict[str, float] = collections.defaultdict(float)
    self._seconds_last: dict[str, float] = {}
    self._shapes: set[tuple] = set()
    self._steps = 0

  @contextlib.contextmanager
  def on(self, what: str) -> Iterator[None]:
    """Context manager that adds the time inside it to the total of `what`."""
    begin = time.monotonic()
    try:
      yield
    finally:
      self._seconds[what] += time.monotonic() - begin

  def step(
    self,
    function: Callable[..., T],
    state: Any,
    batch: Batch,
    what: str = "",
  ) -> T:
    """Runs one training step and times it.

    A batch with new shapes triggers compilation. The call then blocks until the
    step has finished, since other processes may still be compiling.

    Args:
      function: jitted (state, batch) -> result.
      state: first argument of `function`.
      batch: arrays by name; their shapes decide whether a step is a new one.
      what: what is new about such a batch, for the message on compilation.

    Returns:
      The result of `function`.
    """
    shapes = tuple(rows.shape for rows in jax.tree.leaves(batch))
    new = shapes not in self._shapes
    self._shapes.add(shapes)
    if new:
      of = f" for {what}" if what else ""
      progress.say(f"compiling the step{of}, which may take minutes")
    with self.on("compile" if new else "device"):
      result = function(state, batch)
      if new:
        jax.block_until_ready(result)
    self._steps += not new
    return result

  def started(self) -> None:
    """Marks the end of start-up: all time so far counts as "start"."""
    self._last = time.monotonic()
    self._seconds["start"] = self._last - self._begin

  def trained(self) -> tuple[int, float]:
    """Returns the number of steps without compilation, and their seconds."""
    overhead = sum(self._seconds[what] for what in OVERHEAD)
    return self._steps, time.monotonic() - self._begin - overhead

  def split(self) -> dict[str, float]:
    """Returns the shares of time since the last call, from 0 to 1.

    Returns:
      {"data_share", "device_share"}. The rest went to compilation, logging,
      checkpoints and evaluation.
    """
    now = time.monotonic()
    wall = max(now - self._last, 1e-9)
    shares = {
      f"{what}_share": (self._seconds[what] - self._seconds_last.get(what, 0))
      / wall
      for what in ("data", "device")
    }
    self._last, self._seconds_last = now, dict(self._seconds)
    return shares

  def report(self) -> dict[str, float]:
    """Logs a summary of where the time went.

    Returns:
      {"goodput", "seconds", "start_seconds", ...}. Goodput is the share of wall
      time that was not `OVERHEAD`.
    """
    wall = max(time.monotonic() - self._begin, 1e-9)
    seconds = {what: self._seconds[what] for what in (*OVERHEAD, "data")}
    goodput = self.trained()[1] / wall
    shares = ", ".join(f"{what} {s / wall:.1%}" for what, s in seconds.items())
    said = f"goodput {goodput:.1%} of {progress.duration(wall)}; {shares}"
    progress.say(textwrap.fill(said, progress.COLUMNS, subsequent_indent="  "))
    return {
      "goodput": goodput,
      "seconds": wall,
      **{f"{what}_seconds": value for what, value in seconds.items()},
    }
