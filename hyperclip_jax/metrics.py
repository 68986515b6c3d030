"""What a run says of itself: console, JSONL and TensorBoard."""

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping

import jax
from tensorboardX import SummaryWriter

FILE = "metrics.jsonl"


class Writer:
  """Appends rows of metrics to `metrics.jsonl` and to TensorBoard's events."""

  def __init__(self, workdir: pathlib.Path | None):
    """Writes into `workdir`; nothing at all if it is None."""
    self._workdir = workdir

  def __enter__(self) -> "Writer":
    if self._workdir:
      self._file = (self._workdir / FILE).open("a", encoding="utf-8")
      self._events = SummaryWriter(str(self._workdir / "tensorboard"))
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


def read(workdir: pathlib.Path) -> list[dict[str, int | float]]:
  """The rows so far by step; of what was written twice the last counts."""
  path = workdir / FILE
  if not path.exists():
    return []
  rows: dict[int, dict[str, int | float]] = {}
  for line in path.read_text(encoding="utf-8").splitlines():
    row = json.loads(line)
    rows[row["step"]] = rows.get(row["step"], {}) | row
  return [rows[step] for step in sorted(rows)]


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
