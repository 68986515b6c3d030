"""Logs of a run: console, JSONL and TensorBoard."""

import collections
import contextlib
import io
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import jax
import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from hyperclip_jax import console

FILE = "metrics.jsonl"
AVERAGED = 20  # lines over which the average loss is taken
BLOCK = 2**20  # bytes per read from the end of a file

_PROTO: Any = event_pb2  # type checkers cannot see its generated classes

Row = dict[str, int | float]


class Writer:
  """Appends rows of metrics to `metrics.jsonl` and to TensorBoard events.

  Rows after the step that a run resumes from are dropped, since those steps run
  again. Writes happen in the calling thread, so that errors reach the caller.
  """

  def __init__(self, workdir: pathlib.Path | None, step: int = 0):
    """Configures the writer; `with` opens the files.

    Args:
      workdir: folder of the run; None writes nothing.
      step: step that the run resumes from; 0 for a new run.
    """
    self._workdir = workdir
    self._step = step

  def __enter__(self) -> "Writer":
    if self._workdir:
      cut(self._workdir / FILE, self._step)
      folder = self._workdir / "tensorboard"
      folder.mkdir(exist_ok=True)
      # The process id keeps two starts within a second apart.
      self._events = EventsWriter(f"{folder}/events", f".{os.getpid()}")
      self._file = (self._workdir / FILE).open("a", encoding="utf-8")
      first = self._step + 1  # existing events from it on are hidden
      self._add(step=first, file_version="brain.Event:2")
      start = _PROTO.SessionLog(status=_PROTO.SessionLog.START)
      self._add(step=first, session_log=start)
    return self

  def __exit__(self, *_) -> None:
    if self._workdir:
      # An error here was already raised by `write`.
      with contextlib.suppress(OSError):
        self._file.close()
      with contextlib.suppress(OSError):
        self._events.close()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one row, {"step": step, name: value, ...}.

    Args:
      step: step that the metrics belong to.
      values: metrics by name.

    Raises:
      OSError: a file cannot be written, such as for lack of disk space.
    """
    if not self._workdir:
      return
    try:
      self._file.write(json.dumps({"step": step, **values}) + "\n")
      self._file.flush()
      for name, value in values.items():
        self._add(step=step, summary=scalar(name, value))
      self._events.flush()
    except OSError as error:
      raise OSError(
        f"the metrics of step {step} cannot be written in {self._workdir}: "
        f"{error}"
      ) from error

  def _add(self, **what: Any) -> None:
    event = _PROTO.Event(wall_time=time.time(), **what)
    self._events.write_event(event)


def read(workdir: pathlib.Path, most: int = 2_000) -> list[Row]:
  """Reads the metrics of a run.

  Only the lines that are returned are parsed: a long run has a million more.

  Args:
    workdir: folder of the run.
    most: largest number of rows to return for each set of metric names; beyond
      it every second, fourth, ... row and the last one are kept.

  Returns:
    one row per step, in order. Where a metric was written twice for a step, the
    later value counts.
  """
  kinds: dict[tuple[int, bytes], _Thinned] = {}
  for line in _lines(workdir / FILE):
    kind = (line.count(b'"'), b"".join(line.split(b'"', 4)[3:4]))
    if kind not in kinds:
      kinds[kind] = _Thinned(most)
    kinds[kind].add(line)
  rows: dict[int, Row] = {}
  for thinned in kinds.values():
    for row in filter(None, map(_row, thinned.lines())):
      step = int(row["step"])
      rows[step] = rows.get(step, {}) | row
  return [rows[step] for step in sorted(rows)]


class _Thinned:
  """Keeps up to `most` evenly spaced lines of a stream, and the last one."""

  def __init__(self, most: int):
    self._most, self._every, self._count = most, 1, 0
    self._kept: list[bytes] = []
    self._last = b""

  def add(self, line: bytes) -> None:
    if self._count % self._every == 0:
      self._kept.append(line)
      if len(self._kept) >= self._most:
        self._kept, self._every = self._kept[::2], 2 * self._every
    self._last = line
    self._count += 1

  def lines(self) -> list[bytes]:
    return [*self._kept, self._last]


def cut(path: pathlib.Path, last: int) -> None:
  """Truncates a file after a step, and drops a last line that is incomplete.

  Args:
    path: file of rows with ascending steps, read from its end; may be missing.
    last: step of the last row to keep.
  """
  if not path.exists():
    return
  with path.open("r+b") as file:
    ends = (
      end
      for end, line in _from_the_end(file)
      if (row := _row(line)) and row["step"] <= last
    )
    end = next(ends, 0)
    if end < file.seek(0, os.SEEK_END):
      file.truncate(end)


def _from_the_end(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
  """Yields (offset of its end, line) from the last line to the first."""
  start, rest = file.seek(0, os.SEEK_END), b""
  while start:
    # Doubling reads keep the copying of a long line linear in its length.
    size = min(start, max(BLOCK, len(rest)))
    start -= size
    file.seek(start)
    first, *lines = io.BytesIO(file.read(size) + rest)
    end = start + len(first) + sum(map(len, lines))
    for line in reversed(lines):
      yield end, line
      end -= len(line)
    rest = first
  if rest:
    yield len(rest), rest


def _lines(path: pathlib.Path) -> Iterator[bytes]:
  """Yields each line; the last may be cut short by a kill."""
  if path.exists():
    with path.open("rb", buffering=BLOCK) as file:
      yield from file


def _row(line: bytes) -> Row | None:
  """Parses a line; None if it is incomplete or not a row."""
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  whole = line.endswith(b"\n") and isinstance(row, dict)
  return row if whole and isinstance(row.get("step"), int) else None


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

  The other metrics are in `metrics.jsonl` and TensorBoard.
  """

  def __init__(
    self, steps: int, batch_size: int, trained: Callable[[], tuple[int, float]]
  ):
    """Starts to measure the speed.

    Args:
      steps: number of steps of the whole run.
      batch_size: examples in a step, over all devices.
      trained: `Clock.trained`, which returns (steps so far, their seconds).
    """
    self._steps = steps
    self._batch_size = batch_size
    self._trained = trained
    self._last = trained()
    self._losses: collections.deque[float] = collections.deque(maxlen=AVERAGED)

  def report(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
    """Prints a line.

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
    parts = [f"step {step:>{len(str(self._steps))}}/{self._steps}"]
    if "loss" in values:
      self._losses.append(values["loss"])
      average = sum(self._losses) / len(self._losses)
      parts.append(f"loss {values['loss']:.3f} (avg {average:.3f})")
    if values.get("skipped"):
      parts.append(f"skipped {values['skipped']:.0f}")
    if "learning_rate" in values:
      parts.append(f"lr {values['learning_rate']:.1e}")
    if "grad_norm" in values:
      parts.append(f"grad {values['grad_norm']:.3g}")
    rates = {}
    if done:
      rate = done / max(seconds, 1e-9)
      rates = {"samples_per_second": rate * self._batch_size}
      left = duration((self._steps - step) / rate)
      parts += [f"{rate * self._batch_size:.0f} samples/s", f"eta {left}"]
    say("  ".join(parts))
    return rates


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
