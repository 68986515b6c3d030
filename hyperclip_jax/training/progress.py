"""What a run prints while it trains, and metrics between two lines of it."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from hyperclip_jax import console

AVERAGED = 20  # lines over which the average loss is taken
TERMS = 10  # lines of progress from one list of all terms to the next
COLUMNS = 80  # of a line of progress
LINE = {  # metric in the line of progress -> its name there, and format
  "loss": ("loss", ".4g"),
  "learning_rate": ("lr", ".1e"),
  "grad_norm": ("grad", ".3g"),
}
QUIET = ("bad_records", "skipped")  # only mentioned where there are some


class Window:
  """Collects the metrics of the steps since the last log line.

  Metrics stay on the device until they are needed, so that the training loop
  can run ahead of the device.
  """

  def __init__(
    self,
    rows: list[dict[str, float]],
    look: Callable[[int, Mapping[str, float]], None],
  ):
    """Starts a window.

    Args:
      rows: rows that a checkpoint saved in the middle of a window, as `rows`
        returned them; empty otherwise.
      look: callback (step, metrics), called once for each step in order.
    """
    self._rows = rows
    self._look = look
    self._pending: list[tuple[int, Mapping[str, Any]]] = []

  def add(self, step: int, values: Mapping[str, Any]) -> None:
    """Adds the metrics of a step.

    Args:
      step: the step.
      values: float32 scalars on the device, by name.
    """
    self._pending.append((step, values))

  def rows(self) -> list[dict[str, float]]:
    """Returns the metrics so far, one row per step; waits for the device.

    The list is a copy: a checkpoint may write it while training continues.
    """
    pending, self._pending = self._pending, []
    for step, values in jax.device_get(pending):
      row = {name: float(value) for name, value in values.items()}
      self._rows.append(row)
      self._look(int(step), row)
    return [*self._rows]

  def close(self) -> dict[str, float]:
    """Returns the means of the window and starts a new one.

    Returns:
      Mean of each metric over the steps that were not skipped, and "skipped",
      the number of steps that were.
    """
    rows, self._rows = self.rows(), []
    good = [row for row in rows if not row["skipped"]]
    means = {
      name: float(np.mean([np.float32(row[name]) for row in good]))
      for name in (good[0] if good else ())
    }
    return means | {"skipped": float(len(rows) - len(good))}


class Progress:
  """Prints progress: step, loss, learning rate, gradient norm, speed, ETA.

  Lines fit 80 columns. The other metrics follow every tenth line, and when a
  step was skipped.
  """

  def __init__(
    self,
    steps: int,
    batch_size: int,
    trained: Callable[[], tuple[int, float]],
    every: int = TERMS,
  ):
    """Starts to measure the speed.

    Args:
      steps: number of steps of the whole run.
      batch_size: examples in a step, over all devices.
      trained: `Clock.trained`, which returns (steps so far, their seconds).
      every: lines from one list of all terms to the next.
    """
    self._steps = steps
    self._batch_size = batch_size
    self._trained = trained
    self._last = trained()
    self._losses: collections.deque[float] = collections.deque(maxlen=AVERAGED)
    self._every, self._lines = every, 0

  def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
    """Prints a line, and perhaps all terms.

    Args:
      step: last step that is done.
      values: means of the metrics since the last line.

    Returns:
      {"samples_per_second"} since the last line; empty if every step since then
      included compilation.
    """
    now = self._trained()
    done, seconds = (b - a for a, b in zip(self._last, now, strict=True))
    self._last = now
    parts = [f"{step:>{len(str(self._steps))}}/{self._steps}"]
    parts += [
      f"{name} {values[key]:{form}}".replace("e-0", "e-")
      for key, (name, form) in LINE.items()
      if key in values
    ]
    rates = {}
    if done:
      rate = done / max(seconds, 1e-9)
      rates = {"samples_per_second": rate * self._batch_size}
      samples = rate * self._batch_size
      form = ",.0f" if samples >= 100 else ".3g"
      left = _brief((self._steps - step) / rate)
      parts += [f"{samples:{form}} samples/s", f"eta {left}"]
    say(wrapped(parts, ""))
    if "loss" in values:
      self._losses.append(values["loss"])
    self._lines += 1
    if self._lines % self._every == 0 or values.get("skipped"):
      self._say_terms({n: values[n] for n in values if n not in LINE})
    return rates

  def _say_terms(self, terms: Mapping[str, float]) -> None:
    """Prints the moving average of the loss, and what is on no other line."""
    parts = []
    if self._losses:
      average = sum(self._losses) / len(self._losses)
      parts.append(f"average loss {average:.4g}")
    parts += [
      f"{name.removesuffix('_loss').replace('_', ' ')} {value:.4g}"
      for name, value in terms.items()
      if value or name not in QUIET
    ]
    if parts:
      say(wrapped(parts, "  "))


def wrapped(parts: Sequence[str], indent: str) -> str:
  """Joins parts by two spaces, in lines of up to 80 columns.

  Args:
    parts: parts, at least one.
    indent: start of the first line; further ones are indented by two spaces.

  Returns:
    Lines, joined by line feeds. A part alone may be longer than a line.
  """
  lines = [indent + parts[0]]
  for part in parts[1:]:
    if len(lines[-1]) + 2 + len(part) <= COLUMNS:
      lines[-1] += f"  {part}"
    else:
      lines.append(f"  {part}")
  return "\n".join(lines)


def _brief(seconds: float) -> str:
  """Formats a remaining time as m:ss, 13h05 or, from two days on, 2d07."""
  hours, minutes = divmod(round(seconds / 60), 60)
  if hours >= 48:
    return f"{hours // 24}d{hours % 24:02}"
  return f"{hours}h{minutes:02}" if seconds >= 3600 else duration(seconds)


def say(message: str) -> None:
  """Writes a line to standard error from process 0; see `console.say`."""
  if jax.process_index() == 0:
    console.say(message)


def duration(seconds: float) -> str:
  """Formats seconds as h:mm:ss, or m:ss below an hour."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02}:{seconds:02}"
  return f"{minutes}:{seconds:02}"
