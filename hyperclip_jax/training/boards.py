"""Shows the metrics of a run in TensorBoard and in Weights & Biases."""

import contextlib
import importlib
import os
import pathlib
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import numpy as np
from jaxtyping import UInt8

from hyperclip_jax import files
from hyperclip_jax.training.histograms import Histogram
from hyperclip_jax.training.options import Wandb


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
  """Hides a package from imports in the block, if it is not yet imported."""
  hidden = package not in sys.modules
  if hidden:
    sys.modules[package] = cast(Any, None)
  try:
    yield
  finally:
    if hidden:
      del sys.modules[package]


with _without("torch"):  # would take seconds, for an annotation of tensorboardX
  from tensorboardX.event_file_writer import EventsWriter
  from tensorboardX.proto import event_pb2
  from tensorboardX.summary import (
    histogram_raw,
    hparams,
    image,
    scalar,
    text,
  )

# Metrics without a group of their own -> the group, by the first that matches.
GROUPS = {
  r"loss": "loss",
  r"^(learning_rate|grad_norm|skipped)$": "optimizer",
  r"^(goodput|samples_per_second)$|(^|_)(seconds|share)$": "speed",
  r"^bad_records$": "data",
}
OTHERS = "model"
ID = "wandb_id"  # file with the id of a run at Weights & Biases

_PROTO: Any = event_pb2  # type checkers cannot see its generated classes

Pictures = Mapping[str, UInt8[np.ndarray, "height width 3"]]


class Board(Protocol):
  """Where a run is shown."""

  def describe(self, config: Mapping[str, Any]) -> None:
    """Shows the config, dotted name -> value."""

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Shows metrics of a step."""

  def pictures(self, step: int, pictures: Pictures) -> None:
    """Shows pictures by name."""

  def histograms(self, step: int, found: Mapping[str, Histogram]) -> None:
    """Shows histograms by name."""

  def close(self) -> None:
    """Writes what is pending, and ends."""


def tag(name: str) -> str:
  """Puts a metric into a group, so that boards show related ones together.

  Examples:
    >>> tag("loss"), tag("entailment_loss"), tag("eval/retrieval/i2t_r1")
    ('loss/total', 'loss/entailment', 'eval/retrieval/i2t_r1')
    >>> tag("grad_norm"), tag("data_share"), tag("curv")
    ('optimizer/grad_norm', 'speed/data_share', 'model/curv')
  """
  if "/" in name:
    return name
  found = (group for form, group in GROUPS.items() if re.search(form, name))
  group = next(found, OTHERS)
  if group == "loss":
    name = "total" if name == "loss" else name.removesuffix("_loss")
  return f"{group}/{name}"


class TensorBoard:
  """Events of TensorBoard, in a folder of the run.

  Writes happen in the calling thread, so that errors reach the caller.
  """

  def __init__(self, folder: pathlib.Path, step: int):
    """Opens a file of events.

    Args:
      folder: folder, which is made.
      step: step that the run resumes from; events after it are hidden.
    """
    folder.mkdir(exist_ok=True)
    # The process id keeps two starts within a second apart.
    self._events = EventsWriter(f"{folder}/events", f".{os.getpid()}")
    self._step = step
    self._add(step + 1, file_version="brain.Event:2")
    start = _PROTO.SessionLog(status=_PROTO.SessionLog.START)
    self._add(step + 1, session_log=start)

  def describe(self, config: Mapping[str, Any]) -> None:
    """Writes the config as hyperparameters and as a table."""
    plain = {
      name: value if isinstance(value, (bool, int, float, str)) else str(value)
      for name, value in config.items()
    }
    for summary in hparams(plain, {})[:2]:  # the third ends the session
      self._add(self._step, summary=summary)
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in plain.items())
    table = f"| config | value |\n| --- | --- |\n{rows}"
    self._add(self._step, summary=text("config", table))
    self._events.flush()

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes metrics in groups; see `tag`."""
    for name, value in values.items():
      self._add(step, summary=scalar(tag(name), value))
    self._events.flush()

  def pictures(self, step: int, pictures: Pictures) -> None:
    """Writes pictures."""
    for name, pixels in pictures.items():
      summary = image(name, pixels, dataformats="HWC")
      self._add(step, summary=summary)
    self._events.flush()

  def histograms(self, step: int, found: Mapping[str, Histogram]) -> None:
    """Writes histograms; sums of values are not known, and not shown."""
    for name, (counts, edges) in found.items():
      lowest, highest, total = edges[0], edges[-1], counts.sum()
      ends = edges[1:].tolist()
      summary = histogram_raw(
        name, lowest, highest, total, 0.0, 0.0, ends, counts.tolist()
      )
      self._add(step, summary=summary)
    self._events.flush()

  def close(self) -> None:
    """Closes the file."""
    self._events.close()

  def _add(self, step: int, **what: Any) -> None:
    event = _PROTO.Event(wall_time=time.time(), step=step, **what)
    self._events.write_event(event)


class WeightsAndBiases:
  """A run at Weights & Biases, continued when the run is resumed."""

  def __init__(self, workdir: pathlib.Path, o: Wandb):
    """Opens or continues the run.

    Args:
      workdir: folder of the run, in which wandb keeps its own.
      o: project and mode.

    Raises:
      ImportError: the package is missing.
      OSError: the service cannot be reached, or refuses.
    """
    self._wandb = imported()
    path = workdir / ID
    if not path.exists():
      files.write_whole(path, uuid.uuid4().hex[:16] + "\n")
    try:
      self._run = self._wandb.init(
        project=o.project,
        entity=o.entity or None,
        mode=o.mode,
        name=workdir.absolute().name,
        id=files.read_text(path).strip(),
        resume="allow",
        dir=str(workdir),
        settings=self._wandb.Settings(console="off", silent=True),
      )
    except self._wandb.errors.Error as error:
      raise OSError(
        f"config.wandb: {error}; log in by `wandb login`, or set "
        "config.wandb.mode=offline and `wandb sync` later"
      ) from error

  def describe(self, config: Mapping[str, Any]) -> None:
    """Sends the config."""
    self._run.config.update(dict(config), allow_val_change=True)

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Sends metrics; those of a step that was sent before are dropped."""
    self._run.log({tag(n): v for n, v in values.items()}, step=step)

  def pictures(self, step: int, pictures: Pictures) -> None:
    """Sends pictures."""
    made = {n: self._wandb.Image(pixels) for n, pixels in pictures.items()}
    self._run.log(made, step=step)

  def histograms(self, step: int, found: Mapping[str, Histogram]) -> None:
    """Sends histograms."""
    made = {n: self._wandb.Histogram(np_histogram=h) for n, h in found.items()}
    self._run.log(made, step=step)

  def close(self) -> None:
    """Ends the run, once everything is sent."""
    self._run.finish()


def imported() -> Any:
  """Imports wandb.

  Raises:
    ImportError: the package is missing; the message says how to install it.
  """
  try:
    return importlib.import_module("wandb")
  except ImportError as error:
    raise ImportError(
      "config.wandb.project needs the package wandb: pip install "
      "'hyperclip-jax[wandb]'"
    ) from error
