"""Reads from storage that may falter: tried again, ever more slowly."""

import errno
import os
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


def _read(path: str, offset: int, size: int) -> bytes:
  fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    return os.pread(fd, size, offset)
  finally:
    os.close(fd)
