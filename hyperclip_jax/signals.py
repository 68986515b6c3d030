"""Ctrl-C and SIGTERM: a run is to save and end."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

from hyperclip_jax import metrics


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[int], bool]]:
  """Whether to stop after a step, as Ctrl-C and SIGTERM ask any process to.

  A second Ctrl-C interrupts at once.
  """
  many = jax.process_count() > 1
  stop = threading.Event()

  def handle(number, _):
    metrics.say(f"{signal.Signals(number).name}: saving after this step")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if many:
      os.kill(os.getpid(), signal.SIGTERM)
    stop.set()

  # JAX hears SIGTERM where there are several, and has them agree on a step.
  numbers = (signal.SIGINT,) if many else (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, handle) for number in numbers]
  try:
    if many:
      yield multihost_utils.reached_preemption_sync_point
    else:
      yield lambda _: stop.is_set()
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)
