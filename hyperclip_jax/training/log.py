"""The log of a run on disk, and its boards."""

import contextlib
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from hyperclip_jax.training import boards
from hyperclip_jax.training.histograms import Histogram
from hyperclip_jax.training.options import Wandb

FILE = "metrics.jsonl"
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

  def histograms(self, step: int, found: Mapping[str, Histogram]) -> None:
    """Shows histograms of a step on the boards.

    Raises:
      OSError: a file cannot be written, such as for lack of disk space.
    """
    with self._telling(step):
      for board in self._boards:
        board.histograms(step, found)

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
    with self._telling(step):
      self._file.write(json.dumps({"step": step, **values}) + "\n")
      self._file.flush()
      for board in self._boards:
        board.scalars(step, values)

  @contextlib.contextmanager
  def _telling(self, step: int) -> Iterator[None]:
    """Says of an OSError in the block which metrics are not written."""
    try:
      yield
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
