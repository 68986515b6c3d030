"""Reads from unreliable storage, with retries at growing intervals."""

import errno
import os
import resource
import stat
import time

from absl import logging

# Seconds before each retry; then the error is raised.
WAITS = (0.1, 0.5, 2.0)

# Errors of network and failing disks that may be temporary. A missing or
# forbidden file is not.
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

# Errors caused not by a file but by limits of this process or machine.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def read(path: str, offset: int, size: int) -> bytes:
  """Reads bytes of a file, which is opened anew; safe from any thread.

  Args:
    path: file.
    offset: offset of the first byte.
    size: number of bytes.

  Returns:
    The bytes, fewer at the end of the file.

  Raises:
    OSError: it cannot be read, even after the last retry.
  """
  for wait in WAITS:
    try:
      return _read(path, offset, size)
    except OSError as error:
      if error.errno not in PASSING:
        raise
      logging.warning(
        "%s: %s at offset %d; retrying in %s s",
        path,
        error.strerror,
        offset,
        wait,
      )
    time.sleep(wait)
  return _read(path, offset, size)


def size(path: str) -> int:
  """Returns the size of a regular file in bytes.

  Raises:
    ValueError: it is a folder, a pipe or a device.
    OSError: it does not exist, or cannot be accessed.
  """
  found = os.stat(path)
  if not stat.S_ISREG(found.st_mode):
    raise ValueError(f"{path}: not a regular file")
  return found.st_size


def raise_if_exhausted(error: Exception) -> None:
  """Raises an error of exhausted handles or memory, which is not the file's.

  Args:
    error: error of a read or a write.

  Raises:
    OSError: the error, with advice on what to do.
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
  """Raises OSError if this process can open no more files."""
  try:
    os.close(os.open(os.devnull, os.O_RDONLY))
  except OSError as error:
    raise_if_exhausted(error)


def _read(path: str, offset: int, size: int) -> bytes:
  fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    data = os.pread(fd, size, offset)
    # A network disk may return less than asked; only b"" means the end.
    while 0 < len(data) < size:
      more = os.pread(fd, size - len(data), offset + len(data))
      if not more:
        break
      data += more
    return data
  finally:
    os.close(fd)
