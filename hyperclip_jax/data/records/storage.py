"""Reads from storage that may falter: tried again, ever more slowly."""

import errno
import os
import resource
import stat
import time

from absl import logging

# Seconds before each further try; then it is an error like any other.
WAITS = (0.1, 0.5, 2.0)

# What network disks and tired ones say that may be over in a moment. A file
# that is missing or forbidden stays so.
PASSING = {
  errno.EAGAIN,
  errno.EBUSY,
  errno.ECONNABORTED,
  errno.ECONNRESET,
  errno.EHOSTDOWN,
  errno.EHOSTUNREACH,
  errno.EINTR,
  errno.EIO,
  errno.EMFILE,
  errno.ENETDOWN,
  errno.ENETUNREACH,
  errno.ENFILE,
  errno.ENOTCONN,
  errno.ESTALE,
  errno.ETIMEDOUT,
}

# What says nothing of a file: this process or machine has no more to give.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def read(path: str, offset: int, size: int) -> bytes:
  """Bytes of a file, fewer at its end; opens it each time, in any thread.

  Raises:
    OSError: it cannot be read, at once or after the last try.
  """
  for wait in WAITS:
    try:
      return _read(path, offset, size)
    except OSError as error:
      if error.errno not in PASSING:
        raise
      logging.warning(
        "%s: %s at offset %d; trying again in %s s",
        path,
        error.strerror,
        offset,
        wait,
      )
    time.sleep(wait)
  return _read(path, offset, size)


def size(path: str) -> int:
  """The size of a regular file in bytes.

  Raises:
    ValueError: it is a folder, a pipe or a device.
    OSError: it is not there, or cannot be asked about.
  """
  found = os.stat(path)
  if not stat.S_ISREG(found.st_mode):
    raise ValueError(f"{path}: not a regular file")
  return found.st_size


def raise_if_exhausted(error: Exception) -> None:
  """Raises where handles or memory ran out, so that no file is blamed for it.

  Args:
    error: what a read or a write came to.

  Raises:
    OSError: the error, with what to do about it.
  """
  if isinstance(error, OSError) and error.errno in EXHAUSTED:
    handles = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    advice = (
      f"{error.strerror}; the limit of `ulimit -n` is {handles}, raise it"
    )
    if error.errno == errno.ENOMEM:
      advice = f"{error.strerror}; give the process more memory"
    raise OSError(error.errno, advice, error.filename) from error


def check_handles() -> None:
  """Raises OSError where this process can open no more files."""
  try:
    os.close(os.open(os.devnull, os.O_RDONLY))
  except OSError as error:
    raise_if_exhausted(error)


def _read(path: str, offset: int, size: int) -> bytes:
  fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    data = os.pread(fd, size, offset)
    # A network disk may give a part at a time; only nothing is the end.
    while 0 < len(data) < size:
      more = os.pread(fd, size - len(data), offset + len(data))
      if not more:
        break
      data += more
    return data
  finally:
    os.close(fd)
