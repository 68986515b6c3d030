"""Profiles a few training steps."""

import pathlib
from typing import Any

import jax


class Trace:
  """Records steps `first` to `first + steps - 1` with `jax.profiler`.

  TensorBoard opens the folder (with the package xprof), Perfetto opens the
  `*.trace.json.gz` inside it. Calls of Python functions are not recorded: they
  would make up nearly all events.
  """

  def __init__(self, folder: pathlib.Path | None, first: int, steps: int):
    """Prepares a trace; nothing is recorded until `at(first, ...)`.

    Args:
      folder: folder to write the profile into; None records nothing.
      first: first step to record, counted from 1; 0 records nothing.
      steps: number of steps to record.
    """
    self._folder = folder
    self._first = first
    self._end = first + steps
    self._running = False

  def __enter__(self) -> "Trace":
    return self

  def __exit__(self, *_) -> None:
    if self._running:  # the run ended before the last step to record
      jax.profiler.stop_trace()

  def at(self, step: int, state: Any) -> None:
    """Starts or stops recording; call it before each step.

    Args:
      step: step that is about to run.
      state: result of the previous step, for which it waits.
    """
    if self._running and step == self._end:
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
      self._running = False
    elif self._folder and step == self._first:
      jax.block_until_ready(state)
      options = jax.profiler.ProfileOptions()
      options.python_tracer_level = 0
      jax.profiler.start_trace(str(self._folder), profiler_options=options)
      self._running = True
