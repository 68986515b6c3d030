"""A profile of a few steps."""

import pathlib
from typing import Any

import jax


class Trace:
  """Records steps `first` to `first + steps - 1` by `jax.profiler`.

  TensorBoard opens the folder (with the package xprof), Perfetto the
  `*.trace.json.gz` deep inside it. Calls of Python functions are left out: they
  would be nearly all of the events.
  """

  def __init__(self, folder: pathlib.Path | None, first: int, steps: int):
    """Writes into `folder`; records nothing if it is None or `first` is 0."""
    self._folder = folder
    self._first = first
    self._end = first + steps
    self._running = False

  def __enter__(self) -> "Trace":
    return self

  def __exit__(self, *_) -> None:
    if self._running:  # the run ended before the last step of these
      jax.profiler.stop_trace()

  def at(self, step: int, state: Any) -> None:
    """To be called before each step, with what the last one gave."""
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
