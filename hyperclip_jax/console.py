"""The terminal or log of a process, which may fill up or go away."""

import contextlib
import io
import os
import sys
import threading
from typing import NoReturn

PATIENCE = 2.0  # seconds that a message may wait for its reader


class _Lossy(io.FileIO):
  """The bytes of a stream; those that cannot be written are lost."""

  def write(self, data) -> int:
    try:
      written = super().write(data)
    except OSError:
      written = None
    return len(data) if written is None else written


def outlive() -> None:
  """Makes the process outlive the reader of its standard error.

  A closed terminal, a log on a full disk or the end of `2>&1 | head` would
  otherwise raise in whatever prints next, and make the exit code 120.
  """
  for handle in range(3):  # or the next file opened would get its messages
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


def say(message: str) -> None:
  """Writes a line to standard error; never raises and never waits for long."""
  thread = threading.Thread(target=_write, args=(message,), daemon=True)
  thread.start()
  thread.join(PATIENCE)


def end(message: str, code: int = 1) -> NoReturn:
  """Writes a line and ends the process at once, whatever becomes of the line.

  Nothing is cleaned up and no thread is waited for.
  """
  try:
    say(message)
  finally:
    os._exit(code)


def _write(message: str) -> None:
  if sys.stderr:  # None where it was closed from the start
    with contextlib.suppress(OSError, ValueError):
      print(message, file=sys.stderr, flush=True)
