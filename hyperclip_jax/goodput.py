"""Where a run's wall time goes."""

import collections
import contextlib
import time
from collections.abc import Iterator, Mapping

import jax

from hyperclip_jax import metrics

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

  @contextlib.contextmanager
  def on(self, what: str) -> Iterator[None]:
    """Counts the time inside as spent on `what`."""
    begin = time.monotonic()
    try:
      yield
    finally:
      self._seconds[what] += time.monotonic() - begin

  def on_step(
    self, batch: Mapping[str, jax.Array]
  ) -> contextlib.AbstractContextManager[None]:
    """A step is compiled where its batch is the first of these shapes."""
    shapes = tuple(rows.shape for rows in batch.values())
    new = shapes not in self._shapes
    self._shapes.add(shapes)
    return self.on("compile" if new else "device")

  def started(self) -> None:
    """All until now was start-up."""
    self._last = time.monotonic()
    self._seconds["start"] = self._last - self._begin

  def trained(self) -> float:
    """Seconds so far that went to steps: to no `OVERHEAD`."""
    overhead = sum(self._seconds[what] for what in OVERHEAD)
    return time.monotonic() - self._begin - overhead

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
    goodput = self.trained() / wall
    shares = ", ".join(f"{what} {s / wall:.1%}" for what, s in seconds.items())
    metrics.say(f"goodput {goodput:.1%} of {metrics.duration(wall)}; {shares}")
    return {
      "goodput": goodput,
      "seconds": wall,
      **{f"{what}_seconds": value for what, value in seconds.items()},
    }
