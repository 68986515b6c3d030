"""Files: atomic writes, bounded reads of untrusted ones, safe display."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

MOST_TEXT = 2**28  # largest text file in bytes
SHOWN = 200  # characters of an untrusted name in a message
HUB = "hf-hub:"  # before a repository's name
_JOINERS = "\u200c\u200d"  # not printable, but part of emoji and of Persian


def write_whole(
  path: str | os.PathLike[str], content: str | bytes, errors: str = "strict"
) -> None:
  """Writes a file atomically: a process that is killed leaves the old one.

  Args:
    path: file to write, in an existing folder.
    content: bytes, or text to write as UTF-8.
    errors: as for `str.encode`; "replace" for text from data, since half a
      surrogate pair cannot be encoded.

  Raises:
    OSError: the file cannot be written; the message names it.
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
def lock(
  folder: str | os.PathLike[str], shared: bool = False
) -> Iterator[bool]:
  """Context manager that locks a folder against other processes.

  Args:
    folder: existing folder; nothing is written into it.
    shared: whether other processes may hold a shared lock at the same time.

  Yields:
    Whether the file system supports locks; many network file systems do not.

  Raises:
    ValueError: another process holds the lock.
  """
  handle = os.open(folder, os.O_RDONLY)
  try:
    locked = True
    try:
      kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
      fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
      message = f"{shown(folder)}: another run is writing to it"
      raise ValueError(message) from error
    except OSError:
      locked = False
    yield locked
  finally:
    os.close(handle)


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
  """Expands a leading `~` or `~user` in a path, as a shell does."""
  return pathlib.Path(os.path.expanduser(path))


def fetched(source: str, name: str) -> pathlib.Path:
  """Finds a file by its path, or in a repository of the Hugging Face hub.

  Args:
    source: path of a file, or "hf-hub:org/name[@revision]".
    name: name of the file in a repository.

  Returns:
    Path of the file, which may not exist; downloads lie in the hub's cache.

  Raises:
    ImportError: the extra `hub` is not installed.
    OSError: the hub has no such file, or cannot be reached.
  """
  if not source.startswith(HUB):
    return expanded(source)
  try:
    import huggingface_hub
  except ImportError as error:
    raise ImportError(
      f"{shown(source)}: the hub needs an extra: pip install "
      f"'hyperclip-jax[hub]', or give the path of a {name}"
    ) from error
  repository, _, revision = source.removeprefix(HUB).partition("@")
  try:
    found = huggingface_hub.hf_hub_download(
      repository, name, revision=revision or None
    )
  except Exception as error:  # from the hub, from HTTP, or for the name
    raise OSError(
      f"{shown(source)}: {name} was not fetched: "
      f"{shown(' '.join(str(error).split()))}; give the path of a {name}"
    ) from error
  return pathlib.Path(found)


def sha256(path: str | os.PathLike[str]) -> str:
  """Computes the SHA-256 of a file, in hexadecimal.

  Raises:
    OSError: the file cannot be read.
  """
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: pathlib.Path, most: int = MOST_TEXT) -> bytes:
  """Reads a regular file.

  Args:
    path: file to read; it may be untrusted.
    most: largest size to read in bytes.

  Returns:
    Content of the file.

  Raises:
    ValueError: it is a folder, pipe or device, or larger than `most`.
    OSError: the file cannot be read.
  """
  # Opening a pipe would block until it has a writer.
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
  """Reads a UTF-8 file.

  Args:
    path: file to read; it may be untrusted.
    most: largest size to read in bytes.

  Returns:
    Text of the file, without a byte order mark.

  Raises:
    ValueError: it is not UTF-8, not a regular file, or larger than `most`; the
      message names the file.
    OSError: the file cannot be read.
  """
  try:
    return read_bytes(path, most).decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{shown(path)}: not UTF-8 text ({error}); convert it, such as by "
      "iconv -f latin1 -t utf-8"
    ) from error


def read_json(path: pathlib.Path, most: int = MOST_TEXT) -> Any:
  """Reads a JSON file.

  Args:
    path: file to read; it may be untrusted.
    most: largest size to read in bytes.

  Returns:
    Parsed content; its structure is not checked.

  Raises:
    ValueError: it is not JSON in UTF-8, not a regular file, or larger than
      `most`; the message names the file.
    OSError: the file cannot be read.
  """
  text = read_text(path, most)
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{shown(path)}: not JSON: {error}") from error


def lines(text: str) -> list[str]:
  """Splits a text into its lines, stripped and without blank ones.

  Only a line feed ends a line, as in a shell or an editor. Other characters at
  which `str.splitlines` breaks, such as U+2028, stay within a line.
  """
  stripped = (line.strip() for line in text.split("\n"))
  return [line for line in stripped if line]


def inside(folder: pathlib.Path, name: Any) -> pathlib.Path:
  """Joins a folder and an untrusted name, which must stay inside the folder.

  Args:
    folder: folder that the name is relative to.
    name: name as found in the data, of any type.

  Returns:
    Path of the file, which need not exist.

  Raises:
    ValueError: the name is not a string, empty, absolute, or contains "..".
  """
  parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
  if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
    raise ValueError(
      f"{shown(repr(name))} is not a file inside {shown(folder)}"
    )
  return folder.joinpath(*parts)


def file_in(
  folder: str | os.PathLike[str], path: str | os.PathLike[str]
) -> pathlib.Path | None:
  """Resolves an untrusted path to a regular file inside a folder.

  Both are resolved first, so neither `..` nor a link leads outside. The result
  is None for any fault, so that it does not reveal which files exist.

  Args:
    folder: folder that may be read.
    path: path from a client or from an untrusted file.

  Returns:
    Resolved path, or None if it is not a regular file inside the folder.
  """
  try:
    found = pathlib.Path(path).resolve(strict=True)
    within = found.is_relative_to(pathlib.Path(folder).resolve(strict=True))
  except (OSError, ValueError, RuntimeError):  # missing; a NUL; a loop of links
    return None
  return found if within and found.is_file() else None


def shown(text: object, most: int = SHOWN) -> str:
  r"""Formats untrusted text for a message or terminal.

  Control characters, terminal escapes and marks that change the direction of
  writing are escaped as in Python (`\x1b`, `\u202e`). Emoji are not, also those
  that are newer than this Python's Unicode.

  Args:
    text: text, or an object to convert by `str`.
    most: characters to keep; the middle of a longer text becomes "...".

  Returns:
    Printable text on one line.
  """
  text = str(text)
  if len(text) > most:
    half = (most - 3) // 2
    text = f"{text[:half]}...{text[-half:]}"
  if text.isprintable():
    return text
  return "".join(
    c
    if c.isprintable() or c in _JOINERS or "\U0001f000" <= c <= "\U0001faff"
    else c.encode("unicode_escape").decode("ascii")
    for c in text
  )


def _without_waiting(path: str, flags: int) -> int:
  return os.open(path, flags | os.O_NONBLOCK)
