"""What a run says of itself: console, JSONL and TensorBoard."""

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter

from hyperclip_jax.files import write_whole

FILE = "metrics.jsonl"

Row = dict[str, int | float]


class Writer:
  """Appends rows of metrics to `metrics.jsonl` and to TensorBoard's events.

  What was written after the step that a run goes on from is dropped from both:
  those steps are made again.
  """

  def __init__(self, workdir: pathlib.Path | None, step: int = 0):
    """Writes into `workdir` from `step` on; nothing at all if it is None."""
    self._workdir = workdir
    self._step = step

  def __enter__(self) -> "Writer":
    if self._workdir:
      _cut(self._workdir / FILE, self._step)
      self._file = (self._workdir / FILE).open("a", encoding="utf-8")
      folder = str(self._workdir / "tensorboard")
      self._events = SummaryWriter(folder, purge_step=self._step + 1)
    return self

  def __exit__(self, *_) -> None:
    if self._workdir:
      self._file.close()
      self._events.close()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """One row: {"step": step, name: value, ...}."""
    if not self._workdir:
      return
    self._file.write(json.dumps({"step": step, **values}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._events.add_scalar(name, value, step)


def read(workdir: pathlib.Path) -> list[Row]:
  """The rows so far by step; of what was written twice the last counts."""
  rows: dict[int, Row] = {}
  for _, row in _lines(workdir / FILE):
    step = int(row["step"])
    rows[step] = rows.get(step, {}) | row
  return [rows[step] for step in sorted(rows)]


def _cut(path: pathlib.Path, last: int) -> None:
  """Drops the rows after a step, and one that was cut short by a kill."""
  kept = [line for line, row in _lines(path) if row["step"] <= last]
  if path.exists():
    write_whole(path, "".join(kept))


def _lines(path: pathlib.Path) -> Iterator[tuple[str, Row]]:
  """Each whole line and its row; what a kill cut short is left out."""
  if not path.exists():
    return
  text = path.read_text(encoding="utf-8", errors="replace")
  for line in text.splitlines(keepends=True):
    try:
      row = json.loads(line)
    except ValueError:
      continue
    if line.endswith("\n") and isinstance(row, dict) and "step" in row:
      yield line, row


class Window:
  """The metrics of the steps since the last log.

  Those of the newest steps stay on the device until somebody asks, so that the
  loop runs ahead of it.
  """

  def __init__(
    self,
    rows: list[dict[str, float]],
    look: Callable[[int, Mapping[str, float]], None],
  ):
    """Args:
    rows: of a window that a checkpoint cut in two, as `rows` gave them.
    look: is shown each step and its metrics, in order, once.
    """
    self._rows = rows
    self._look = look
    self._pending: list[tuple[int, Mapping[str, Any]]] = []

  def add(self, step: int, values: Mapping[str, Any]) -> None:
    """Takes a step's metrics: float32 scalars on the device."""
    self._pending.append((step, values))

  def rows(self) -> list[dict[str, float]]:
    """The metrics so far, a row a step; waits for the device."""
    pending, self._pending = self._pending, []
    for step, values in jax.device_get(pending):
      row = {name: float(value) for name, value in values.items()}
      self._rows.append(row)
      self._look(int(step), row)
    return self._rows

  def close(self) -> dict[str, float]:
    """Their means over the steps that were not skipped; begins a new window.

    "skipped" is how many were.
    """
    rows, self._rows = self.rows(), []
    good = [row for row in rows if not row["skipped"]]
    means = {
      name: float(np.mean([np.float32(row[name]) for row in good]))
      for name in (good[0] if good else ())
    }
    return means | {"skipped": float(len(rows) - len(good))}


class Progress:
  """A line a log: step, speed, waits, time left, loss terms."""

  def __init__(self, start: int, steps: int, batch_size: int):
    self._steps = steps
    self._batch_size = batch_size
    self._last = (start, time.monotonic())

  def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
    """Prints a line; returns {"samples_per_second"} since the last one.

    Args:
      step: the last one done.
      values: means of the metrics, and the shares of `Clock.split`.
    """
    now = time.monotonic()
    done, since = self._last
    rate = (step - done) / max(now - since, 1e-9)
    self._last = (step, now)
    left = duration((self._steps - step) / max(rate, 1e-9))
    terms = "  ".join(
      f"{name.removesuffix('_loss')} {value:.3f}"
      for name, value in values.items()
      if name.endswith("loss") or name in ("curv", "logit_scale")
    )
    say(
      f"step {step:>{len(str(self._steps))}}/{self._steps}  "
      f"{rate * self._batch_size:.0f} samples/s  "
      f"data {values['data_share']:.0%}  device {values['device_share']:.0%}  "
      f"eta {left}  {terms}"
    )
    return {"samples_per_second": rate * self._batch_size}

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves what happens inside out of the speed."""
    begin = time.monotonic()
    yield
    step, since = self._last
    self._last = (step, since + time.monotonic() - begin)


def say(message: str) -> None:
  """A line to whoever watches, from the first process."""
  if jax.process_index() == 0:
    print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
  """h:mm:ss or m:ss."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours}:{minutes:02}:{seconds:02}"
  return f"{minutes}:{seconds:02}"
