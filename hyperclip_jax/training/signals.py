"""Ctrl-C, SIGTERM and SIGHUP: a run saves what it has, and ends.

A process listens from its first line to its last. While it trains it saves
after the step at hand; before and after that all is on the disk already, and it
ends at once. The signals are read by a thread, since the main thread hears
nothing while it waits in a compilation or for other processes.
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
GRACE = 10.0  # seconds to leave in good order, outside of training


@dataclasses.dataclass
class _State:
  """Of this process.

  Attributes:
    listens: `listen` is in force.
    asked: the first signal that came.
    leaving: the process is on its way out.
    said: its last words are written.
    save: answers a signal while a loop trains, by its name; None elsewhere.
    code: exit code of a process that was stopped; None for 128 + the signal.
  """

  listens: bool = False
  asked: int | None = None
  leaving: bool = False
  said: bool = False
  save: Callable[[str], None] | None = None
  code: int | None = None


_state = _State()


def listen(argv: Sequence[str] = ()) -> Callable[[], None]:
  """Answers signals from now on.

  SIGHUP stays ignored where it is, as under `nohup`.

  Args:
    argv: command line, which may hold `--stopped_code=N`, the exit code of a
      process that was stopped. Flags are parsed later, after the imports.

  Returns:
    What gives the signals back to their former handlers.
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
  """Says that the work is done: nothing is left that could be stopped."""
  if _state.listens:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the exit itself may hang
    for number in (signal.SIGTERM, signal.SIGHUP):
      signal.signal(number, signal.SIG_IGN)


def stopped_code(argv: Sequence[str]) -> int | None:
  """The value of `--stopped_code` on a command line; None without."""
  text = "\n".join(argv)
  found = re.search(r"^--?stopped_code[=\n](\d{1,3})$", text, re.MULTILINE)
  return int(found[1]) if found else None


def expect(step: int) -> None:
  """Counts the steps from here, where several processes agree on one.

  JAX has all processes stop at the step after the newest that one of them is
  at, and takes them to be at step 0 until then. A signal that comes while a run
  is being resumed would name a step that never comes.

  Args:
    step: newest checkpoint; 0 if there is none.
  """
  import jax
  from jax.experimental import multihost_utils

  if jax.process_count() > 1 and step > 0:
    multihost_utils.reached_preemption_sync_point(step)


@contextlib.contextmanager
def saving() -> Iterator[Callable[[int], bool]]:
  """Whether to save and end after a step: to be asked once after each.

  All processes of a run get the same answer. A signal that came too late for
  the last question ends the process on the way out.
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
    # JAX hears SIGTERM where there are several, and has them agree on a step.
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
      signal.signal(signal.SIGTERM, _leave)  # it was JAX's
    undo()
  if _state.asked is not None and not told:
    _exit(_state.asked)


def _is_news(record: logging.LogRecord) -> bool:
  """Whether a log is none of those by which Orbax says what `ask` has said."""
  return "Reached preemption sync point" not in str(record.msg)


def _hear(reader: int, state: _State) -> None:
  """Answers the numbers of signals as they come."""
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
  # The main thread may be held up where no exception reaches it.
  timer = threading.Timer(GRACE, _end, [number, state])
  timer.daemon = True
  timer.start()


def _end(number: int, state: _State) -> None:
  if state.listens and not state.save:
    console.end(_last_words(number), _exit_code(number))


def _leave(number: int, _) -> None:
  """Ends the main thread, unless it trains."""
  _state.asked = _state.asked or number
  if not _state.save and not _state.leaving:
    _exit(_state.asked)


def _leave_later(lost) -> bool:
  """Whether an exit was lost, and comes again.

  Python swallows what is raised while it calls back by itself, as in a
  collection of garbage or a `__del__`.
  """
  main = threading.main_thread()
  ours = _state.leaving and issubclass(lost.exc_type, SystemExit)
  if not (ours and _state.asked and threading.current_thread() is main):
    return False
  _state.leaving = False
  signal.set_wakeup_fd(-1)  # what follows is no second Ctrl-C
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
  return f"{name}: ended; the same command, started again, goes on"


def _exit_code(number: int) -> int:
  return 128 + number if _state.code is None else _state.code
