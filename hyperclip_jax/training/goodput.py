"""Where a run's wall time goes."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax

from hyperclip_jax.training import log

Batch = Mapping[str, Any]  # any tree of arrays
T = TypeVar("T")

# What is no training, in the order in which it is told.
OVERHEAD = ("start", "compile", "checkpoint", "evaluation")


class Clock:
  """Seconds by what the host did, of one process from here on.

  Steps are dispatched and run by themselves, so `data`, the wait for a batch,
  costs nothing as long as there is a `device` wait when their metrics are
  fetched: then the device was behind, and never idle for want of data.
  """

  def __init__(self):
    self._begin = self._last = time.monotonic()
    self._seconds: dict[str, float] = collections.defaultdict(float)
    self._seconds_last: dict[str, float] = {}
    self._shapes: set[tuple] = set()
    self._steps = 0

  @contextlib.contextmanager
  def on(self, what: str) -> Iterator[None]:
    """Counts the time inside as spent on `what`."""
    begin = time.monotonic()
    try:
      yield
    finally:
      self._seconds[what] += time.monotonic() - begin

  def step(self, function: Callable[..., T], state: Any, batch: Batch) -> T:
    """Makes a step: `function(state, batch)`.

    It is compiled where its batch is the first of these shapes. Then this waits
    for its end, since other processes may be compiling still.
    """
    shapes = tuple(rows.shape for rows in jax.tree.leaves(batch))
    new = shapes not in self._shapes
    self._shapes.add(shapes)
    with self.on("compile" if new else "device"):
      result = function(state, batch)
      if new:
        jax.block_until_ready(result)
    self._steps += not new
    return result

  def started(self) -> None:
    """All until now was start-up."""
    self._last = time.monotonic()
    self._seconds["start"] = self._last - self._begin

  def trained(self) -> tuple[int, float]:
    """Steps so far that were not compiled, and the seconds that they took."""
    overhead = sum(self._seconds[what] for what in OVERHEAD)
    return self._steps, time.monotonic() - self._begin - overhead

  def split(self) -> dict[str, float]:
    """Shares of the time since the last call: {"data_share", "device_share"}.

    What is left went to compilation, logs, checkpoints and evaluation.
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
    """Prints a line; {"goodput", "seconds", "start_seconds", ...}.

    Goodput is the share of the wall time that went to steps: to no `OVERHEAD`.
    """
    wall = max(time.monotonic() - self._begin, 1e-9)
    seconds = {what: self._seconds[what] for what in (*OVERHEAD, "data")}
    goodput = self.trained()[1] / wall
    shares = ", ".join(f"{what} {s / wall:.1%}" for what, s in seconds.items())
    log.say(f"goodput {goodput:.1%} of {log.duration(wall)}; {shares}")
    return {
      "goodput": goodput,
      "seconds": wall,
      **{f"{what}_seconds": value for what, value in seconds.items()},
    }
