"""Monitors a run: skipped updates, loss spikes, scalars at their bounds."""

import collections
import json
import math
import pathlib
import statistics
from collections.abc import Callable, Mapping

import jax
from absl import logging

FILE = "skipped.jsonl"

# A spike is SPIKE standard deviations above the mean of the last WINDOW steps,
# of which there must be at least LEAST.
SPIKE = 6.0
WINDOW, LEAST = 100, 20

# A loss that depends on the batch fluctuates. One that stays within FLAT of its
# value for FLAT_STEPS does not depend on it.
FLAT, FLAT_STEPS = 0.01, 1_000


class BadNumbersError(FloatingPointError):
  """Too many updates in a row were skipped."""


class Health:
  """Checks the metrics of each step, and warns of problems."""

  def __init__(
    self,
    workdir: pathlib.Path,
    max_bad_steps: int,
    names: Callable[[int], list[str]],
    bounds: Mapping[str, tuple[float, float]],
  ):
    """Starts without any steps.

    Args:
      workdir: folder for `FILE`, which has a row for each skipped update.
      max_bad_steps: number of updates in a row that may be skipped.
      names: function of a step that returns the records of its batch.
      bounds: metric -> smallest and largest value allowed.
    """
    self._file = workdir / FILE
    self._max = max_bad_steps
    self._names = names
    self._bounds = bounds
    self._bad = 0
    self._losses: collections.deque[float] = collections.deque(maxlen=WINDOW)
    self._quiet = 0  # steps until the next spike may be reported
    self._at_bound: set[str] = set()
    self._band = (math.inf, -math.inf)  # range of the contrastive term
    self._flat = 0  # steps since it left its band
    self._collapsed = False

  def look(self, step: int, values: Mapping[str, float]) -> None:
    """Checks a step.

    Args:
      step: number of the step.
      values: metrics: loss, grad_norm, skipped, and the scalars of the model.

    Raises:
      BadNumbersError: too many updates in a row were skipped.
    """
    if values["skipped"]:
      self._skipped(step, values)
      return
    self._bad = 0
    self._look_for_spike(step, float(values["loss"]))
    for name, value in values.items():
      if name.startswith("contrastive"):
        self._look_for_collapse(step, float(value))
    for name in self._bounds.keys() & values.keys():
      self._look_at_bounds(step, name, float(values[name]))

  def _skipped(self, step: int, values: Mapping[str, float]) -> None:
    self._bad += 1
    loss, norm = float(values["loss"]), float(values["grad_norm"])
    if jax.process_index() == 0:
      logging.warning(
        "step %d skipped, %d in a row: loss %s, gradient norm %s; its "
        "records are in %s",
        step,
        self._bad,
        loss,
        norm,
        self._file,
      )
      row = {"step": step, "loss": str(loss), "grad_norm": str(norm)}
      with self._file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | {"records": self._names(step)}) + "\n")
    if self._bad > self._max:
      raise BadNumbersError(
        f"{self._bad} updates in a row were not finite, by step {step}: the "
        "run ends, and its last checkpoint is good. Lower "
        "config.optim.learning_rate, use --config.model.dtype=float32, or "
        f"check the records in {self._file}"
      )

  def _look_for_spike(self, step: int, loss: float) -> None:
    self._quiet = max(0, self._quiet - 1)
    if len(self._losses) >= LEAST:
      mean = statistics.fmean(self._losses)
      # Otherwise anything is a spike of a loss that hardly moves.
      spread = max(statistics.pstdev(self._losses), 0.01 * abs(mean))
      if loss > mean + SPIKE * spread and not self._quiet:
        logging.warning(
          "step %d: loss %.4g is a spike, the last %d were %.4g +- %.2g",
          step,
          loss,
          len(self._losses),
          mean,
          spread,
        )
        self._quiet = WINDOW
    self._losses.append(loss)

  def _look_for_collapse(self, step: int, value: float) -> None:
    """Warns once if the loss is ln(batch): all embeddings are equal."""
    low, high = min(self._band[0], value), max(self._band[1], value)
    if high - low > FLAT * high:
      low, high, self._flat = value, value, 0
    self._band = (low, high)
    self._flat += 1
    if self._flat == FLAT_STEPS and value > FLAT and not self._collapsed:
      self._collapsed = True
      logging.warning(
        "step %d: the contrastive loss has been %.4g for %d steps. It is "
        "ln(batch) = ln(%.0f) if all embeddings are equal, and such a run "
        "learns nothing: lower config.optim.learning_rate or raise "
        "config.optim.warmup, and check that captions match their images "
        "and differ from each other",
        step,
        value,
        FLAT_STEPS,
        math.exp(value),
      )

  def _look_at_bounds(self, step: int, name: str, value: float) -> None:
    """Warns once of each metric that has reached a bound."""
    low, high = self._bounds[name]
    # The relative error of exp(log(100)) in float32 is under 1e-6.
    at_high = value > high * (1 - 1e-5)
    at_low = value < low * (1 + 1e-5)
    if (at_high or at_low) and name not in self._at_bound:
      self._at_bound.add(name)
      logging.warning(
        "step %d: %s is at its %s bound, %.4g",
        step,
        name,
        "upper" if at_high else "lower",
        value,
      )
