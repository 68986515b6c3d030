"""Logs of a run: console, JSONL and boards."""

import collections
import contextlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import jax
import numpy as np

from hyperclip_jax import console
from hyperclip_jax.training import boards
from hyperclip_jax.training.options import Wandb

FILE = "metrics.jsonl"
AVERAGED = 20  # lines over which the average loss is taken
TERMS = 10  # lines of progress from one list of all terms to the next
COLUMNS = 80  # of a line of progress
LINE = {  # metric in the line of progress -> its name there, and format
  "loss": ("loss", ".4g"),
  "learning_rate": ("lr", ".1e"),
  "grad_norm": ("grad", ".3g"),
}
QUIET = ("bad_records", "skipped")  # only mentioned where there are some
BLOCK = 2**20  # bytes per read from the end of a file

Row = dict[str, int | float]


class Writer:
  """Appends rows of metrics to `metrics.jsonl`, and shows them on boards.

  Rows after the step that a run resumes from are dropped, since those steps run
  again. Writes happen in the calling thread, so that errors reach the caller.
  """

  def __init__(
    self,
    workdir: pathlib.Path | None,
    step: int = 0,
    wandb: Wandb = Wandb(),  # noqa: B008 (frozen)
  ):
    """Configures the writer; `with` opens the files.

    Args:
      workdir: folder of the run; None writes nothing.
      step: step that the run resumes from; 0 for a new run.
      wandb: project at Weights & Biases, if there is one.
    """
    self._workdir, self._step, self._wandb = workdir, step, wandb
    self._boards: list[boards.Board] = []

  def __enter__(self) -> "Writer":
    if self._workdir:
      cut(self._workdir / FILE, self._step)
      folder = self._workdir / "tensorboard"
      self._boards.append(boards.TensorBoard(folder, self._step))
      self._file = (self._workdir / FILE).open("a", encoding="utf-8")
      if self._wandb.project:
        self._boards.append(boards.WeightsAndBiases(self._workdir, self._wandb))
    return self

  def __exit__(self, *_) -> None:
    if self._workdir:
      # An error here was already raised by `write`.
      for opened in (self._file, *self._boards):
        with contextlib.suppress(OSError):
          opened.close()

  def describe(self, config: Mapping[str, Any]) -> None:
    """Shows the config on the boards.

    Args:
      config: dotted name -> value.
    """
    for board in self._boards:
      board.describe(config)

  def pictures(self, pictures: boards.Pictures) -> None:
    """Shows pictures on the boards, at the step that the run resumes from."""
    for board in self._boards:
      board.pictures(self._step, pictures)

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
      for board in self._boards:
        board.scalars(step, values)
    except OSError as error:
      raise OSError(
        f"the metrics of step {step} cannot be written in {self._workdir}: "
        f"{error}"
      ) from error


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
