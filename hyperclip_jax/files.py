"""Files and names: written whole, read as text, shown without harm."""

import contextlib
import fcntl
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

MOST_TEXT = 2**28  # bytes of a text file that are read at once
SHOWN = 200  # characters of a foreign name that a message repeats
_JOINERS = "\u200c\u200d"  # not printable, but part of emoji and of Persian


def write_whole(
  path: str | os.PathLike[str], content: str | bytes, errors: str = "strict"
) -> None:
  """Writes a file in one step: a process that is killed leaves the old one.

  Args:
    path: file to write; its folder exists.
    content: bytes, or text that is written as UTF-8.
    errors: as for `str.encode`: "replace" for text of the data, as half a
      surrogate pair has no UTF-8.

  Raises:
    OSError: it cannot be written; the message names it.
  """
  path = pathlib.Path(path)
  partial = path.with_name(f".{path.name}.partial")
  if isinstance(content, str):
    content = content.encode(errors=errors)
  try:
    partial.write_bytes(content)
    partial.replace(path)
  except OSError as error:
    with contextlib.suppress(OSError):
      partial.unlink()
    raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def lock(folder: str | os.PathLike[str]) -> Iterator[bool]:
  """Keeps other processes that lock it out of a folder, until this one ends.

  Args:
    folder: one that exists; nothing is written into it.

  Yields:
    Whether the file system has locks: many network file systems have none.

  Raises:
    ValueError: another process has it.
  """
  handle = os.open(folder, os.O_RDONLY)
  try:
    locked = True
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      message = f"{shown(folder)}: another run is writing to it"
      raise ValueError(message) from error
    except OSError:
      locked = False
    yield locked
  finally:
    os.close(handle)


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
  """The path with a leading `~` or `~user` replaced, as a shell does."""
  return pathlib.Path(os.path.expanduser(path))


def read_bytes(path: pathlib.Path, most: int = MOST_TEXT) -> bytes:
  """The content of a regular file.

  Args:
    path: file to read; it may come from a stranger.
    most: largest size in bytes.

  Raises:
    ValueError: it is a folder, pipe or device, or larger than `most`.
    OSError: it cannot be read.
  """
  # Opened without waiting: a pipe would wait for its writer.
  with open(path, "rb", opener=_without_waiting) as file:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
      raise ValueError(f"{shown(path)}: not a regular file")
    if found.st_size > most:
      raise ValueError(
        f"{shown(path)}: {found.st_size:,} bytes; at most {most:,} are read"
      )
    return file.read()


def read_text(path: pathlib.Path, most: int = MOST_TEXT) -> str:
  """The text of a UTF-8 file, without a byte order mark.

  Args:
    path: file to read; it may come from a stranger.
    most: largest size in bytes.

  Raises:
    ValueError: it is no UTF-8, or no regular file; the message names it.
    OSError: it cannot be read.
  """
  try:
    return read_bytes(path, most).decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{shown(path)}: not UTF-8 text ({error}); convert it, such as by "
      "iconv -f latin1 -t utf-8"
    ) from error


def read_json(path: pathlib.Path, most: int = MOST_TEXT) -> Any:
  """The content of a JSON file; raises as `read_text` where it is not JSON."""
  text = read_text(path, most)
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{shown(path)}: not JSON: {error}") from error


def lines(text: str) -> list[str]:
  """The lines of a text that are not blank, stripped.

  Lines end at a line feed alone, as in a shell or an editor: other characters
  that `str.splitlines` breaks at, such as U+2028, stay within a line.
  """
  stripped = (line.strip() for line in text.split("\n"))
  return [line for line in stripped if line]


def inside(folder: pathlib.Path, name: Any) -> pathlib.Path:
  """The path of a file that other data name, which may not lead elsewhere.

  Args:
    folder: what the name is relative to.
    name: as found in the data.

  Raises:
    ValueError: the name is no text, empty, absolute or goes up.
  """
  parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
  if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
    raise ValueError(f"{shown(repr(name))} is no file inside {shown(folder)}")
  return folder.joinpath(*parts)


def file_in(
  folder: str | os.PathLike[str], path: str | os.PathLike[str]
) -> pathlib.Path | None:
  """The regular file at `path` if it really lies inside `folder`, or None.

  Both are resolved first, so neither `..` nor a link leads out. The answer is
  None whatever is wrong, so that it does not reveal which files exist.

  Args:
    folder: what may be read.
    path: a path from a client or from a file of others.
  """
  try:
    found = pathlib.Path(path).resolve(strict=True)
    within = found.is_relative_to(pathlib.Path(folder).resolve(strict=True))
  except (OSError, ValueError, RuntimeError):  # missing; a NUL; a loop of links
    return None
  return found if within and found.is_file() else None


def shown(text: object, most: int = SHOWN) -> str:
  r"""Text from a file, escaped and cut in the middle, safe for a terminal.

  Control characters, terminal escapes and marks that change the direction of
  writing are shown as Python writes them (`\x1b`, `\u202e`).

  Args:
    text: a name, or whatever `str` makes of it.
    most: longest result in characters.
  """
  text = str(text)
  if len(text) > most:
    half = (most - 3) // 2
    text = f"{text[:half]}...{text[-half:]}"
  if text.isprintable():
    return text
  return "".join(
    c
    if c.isprintable() or c in _JOINERS
    else c.encode("unicode_escape").decode("ascii")
    for c in text
  )


def _without_waiting(path: str, flags: int) -> int:
  return os.open(path, flags | os.O_NONBLOCK)
