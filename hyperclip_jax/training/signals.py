"""Handles Ctrl-C, SIGTERM and SIGHUP: a run saves its state and ends.

Handlers are installed from the first line of a process to its last. During
training the run saves after the current step; before and after it there is
nothing to save, and the process ends at once. A thread reads the signals, since
Python handlers do not run while the main thread is inside a compilation or a
collective.
"""

import contextlib
import dataclasses
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from hyperclip_jax import console

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 10.0  # seconds for an orderly exit outside of training


@dataclasses.dataclass
class _State:
  """Signal handling of this process.

  Attributes:
    listens: whether the handlers of `listen` are installed.
    asked: first signal received; None before it.
    leaving: whether the process is exiting.
    said: whether the message on exit has been printed.
    save: callback that takes the name of a signal during training; None at
      other times.
    code: exit code of a stopped process; None for 128 + the signal.
  """

  listens: bool = False
  asked: int | None = None
  leaving: bool = False
  said: bool = False
  save: Callable[[str], None] | None = None
  code: int | None = None


_state = _State()


def listen(argv: Sequence[str] = ()) -> Callable[[], None]:
  """Installs the signal handlers.

  SIGHUP stays ignored if it already is, as under `nohup`.

  Args:
    argv: command line. Its `--stopped_code=N` is the exit code of a stopped
      process; it is read here since flags are parsed only after the imports.

  Returns:
    Function that restores the former handlers.
  """
  global _state
  state = _state = _State(listens=True, code=stopped_code(argv))
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  before = {number: signal.getsignal(number) for number in NUMBERS}
  if before[signal.SIGHUP] is signal.SIG_IGN:
    del before[signal.SIGHUP]
  for number in before:
    signal.signal(number, _leave)
  wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  report = sys.unraisablehook
  sys.unraisablehook = lambda lost: _leave_later(lost) or report(lost)
  threading.Thread(target=_hear, args=(reader, state), daemon=True).start()

  def undo() -> None:
    sys.unraisablehook = report
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
      signal.signal(number, handler)
    os.close(writer)
    state.listens = False

  return undo


def done() -> None:
  """Ignores further signals: the work is done and saved."""
  if _state.listens:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # in case the exit hangs
    for number in (signal.SIGTERM, signal.SIGHUP):
      signal.signal(number, signal.SIG_IGN)


def stopped_code(argv: Sequence[str]) -> int | None:
  """Finds the value of `--stopped_code` on a command line, or None."""
  text = "\n".join(argv)
  found = re.search(r"^--?stopped_code[=\n](\d{1,3})$", text, re.MULTILINE)
  return int(found[1]) if found else None


def expect(step: int) -> None:
  """Reports the step that a run resumes from to JAX's preemption service.

  The service stops all processes at the step after the newest one that any of
  them has reported, and assumes step 0 before that. Without this call, a signal
  received while a run resumes would select a step in the past.

  Args:
    step: step of the newest checkpoint; 0 if there is none.
  """
  import jax
  from jax.experimental import multihost_utils

  if jax.process_count() > 1 and step > 0:
    multihost_utils.reached_preemption_sync_point(step)


@contextlib.contextmanager
def saving() -> Iterator[Callable[[int], bool]]:
  """Context manager that yields `should_stop(step)` for the training loop.

  `should_stop` must be called once after each step. It returns True, on every
  process at the same step, once any of them has received SIGINT, SIGTERM or
  SIGHUP. A signal after the last call ends the process on exit.
  """
  import jax
  from jax.experimental import multihost_utils

  many, first = jax.process_count() > 1, jax.process_index() == 0
  undo = (lambda: None) if _state.listens else listen()
  announced = told = False

  def announce(name: str) -> None:
    nonlocal announced
    if first and not announced:
      announced = True
      console.say(f"{name}: saving after this step; Ctrl-C again ends at once")

  def announce_to_all(name: str) -> None:
    announce(name)
    # With several processes JAX's preemption service handles SIGTERM and makes
    # all of them stop at the same step.
    os.kill(os.getpid(), signal.SIGTERM)

  def ask(step: int) -> bool:
    nonlocal told
    if many:
      told = multihost_utils.reached_preemption_sync_point(step)
    else:
      told = _state.asked is not None
    if told:
      announce(signal.Signals(_state.asked or signal.SIGTERM).name)
    return told

  _state.save = announce_to_all if many else announce
  logger = logging.getLogger("absl")
  logger.addFilter(_is_news)
  try:
    yield ask
  finally:
    logger.removeFilter(_is_news)
    _state.leaving = told
    _state.save = None
    if many:
      signal.signal(signal.SIGTERM, _leave)  # JAX had replaced it
    undo()
  if _state.asked is not None and not told:
    _exit(_state.asked)


def _is_news(record: logging.LogRecord) -> bool:
  """Filters out Orbax's log records about a stop, which `ask` announces."""
  return "Reached preemption sync point" not in str(record.msg)


def _hear(reader: int, state: _State) -> None:
  """Handles signals, whose numbers arrive on a pipe."""
  heard = False
  with open(reader, "rb", buffering=0) as pipe:
    while number := pipe.read(1):
      if number[0] in NUMBERS:
        _answer(signal.Signals(number[0]), state, heard)
        heard = True


def _answer(number: signal.Signals, state: _State, again: bool) -> None:
  if again:
    if number == signal.SIGINT:
      console.end("SIGINT again: ended at once", 128 + number)
    return
  state.asked = number
  if save := state.save:
    save(number.name)
    return
  # The main thread may be blocked where no exception reaches it.
  timer = threading.Timer(GRACE, _end, [number, state])
  timer.daemon = True
  timer.start()


def _end(number: int, state: _State) -> None:
  if state.listens and not state.save:
    console.end(_last_words(number), _exit_code(number))


def _leave(number: int, _) -> None:
  """Signal handler: exits the main thread unless it is training."""
  _state.asked = _state.asked or number
  if not _state.save and not _state.leaving:
    _exit(_state.asked)


def _leave_later(lost) -> bool:
  """Repeats an exit that Python swallowed; returns whether it was one.

  Python swallows exceptions raised in its own callbacks, as in garbage
  collection or `__del__`.
  """
  main = threading.main_thread()
  ours = _state.leaving and issubclass(lost.exc_type, SystemExit)
  if not (ours and _state.asked and threading.current_thread() is main):
    return False
  _state.leaving = False
  signal.set_wakeup_fd(-1)  # the repeated signal is no second Ctrl-C
  again = threading.Timer(0.05, signal.pthread_kill, [main.ident, _state.asked])
  again.daemon = True
  again.start()
  return True


def _exit(number: int) -> None:
  _state.leaving = True
  if not _state.said:
    _state.said = True
    console.say(_last_words(number))
  sys.exit(_exit_code(number))


def _last_words(number: int) -> str:
  name = signal.Signals(number).name
  return f"{name}: ended; run the same command again to continue"


def _exit_code(number: int) -> int:
  return 128 + number if _state.code is None else _state.code
