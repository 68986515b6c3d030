"""Writes to the terminal or log of a process, which may fill up or vanish."""

import contextlib
import io
import os
import sys
import textwrap
import threading
import warnings
from typing import NoReturn

PATIENCE = 2.0  # seconds that a message may wait for its reader to read


class _Lossy(io.FileIO):
  """Raw stream that drops the bytes that it cannot write."""

  def write(self, data) -> int:
    try:
      written = super().write(data)
    except OSError:
      written = None
    return len(data) if written is None else written


def outlive() -> None:
  """Makes standard error safe to write to after its reader has gone.

  Otherwise a closed terminal, a log on a full disk or the end of `2>&1 | head`
  raises in whatever prints next, and makes the exit code 120.
  """
  for handle in range(3):  # a closed one would be reused by the next open
    try:
      os.fstat(handle)
    except OSError:
      os.open(os.devnull, os.O_RDWR)
  sys.stderr = io.TextIOWrapper(
    io.BufferedWriter(_Lossy(2, "w", closefd=False)),
    encoding=getattr(sys.stderr, "encoding", None),
    errors="backslashreplace",
    line_buffering=True,
  )


def tell_warnings() -> None:
  """Writes each UserWarning of this package once, as a sentence."""
  usual, told = warnings.showwarning, set()
  own = os.path.dirname(os.path.abspath(__file__)) + os.sep

  def show(message, category, filename, lineno, file=None, line=None) -> None:
    if category is not UserWarning or not filename.startswith(own):
      usual(message, category, filename, lineno, file, line)
    elif str(message) not in told:
      told.add(str(message))
      say(textwrap.fill(f"note: {message}", 80, subsequent_indent="  "))

  warnings.showwarning = show


def say(message: str) -> None:
  """Writes a line to standard error; never raises, never blocks for long."""
  thread = threading.Thread(target=_write, args=(message,), daemon=True)
  thread.start()
  thread.join(PATIENCE)


def end(message: str, code: int = 1) -> NoReturn:
  """Writes a line and exits at once, even if the line cannot be written.

  Nothing is cleaned up and no thread is joined (`os._exit`).

  Args:
    message: line for standard error.
    code: exit code of the process.
  """
  try:
    say(message)
  finally:
    os._exit(code)


def _write(message: str) -> None:
  if sys.stderr:  # None where it was closed from the start
    with contextlib.suppress(OSError, ValueError):
      print(message, file=sys.stderr, flush=True)
