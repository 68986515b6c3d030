"""One run at a time trains in a workdir.

On one machine the kernel sees to that, and frees the workdir of a process that
has died. Machines that share a workdir over a network often have no common
lock: there the run that trains touches a file again and again, and one that
finds the file watches for a while whether it is still touched.
"""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from hyperclip_jax import console, files

FILE = "running.json"
BEAT = 10.0  # seconds from one touch to the next
WATCH = 60.0  # seconds without a touch after which its process is gone


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a workdir.

  All processes of a run enter it together, and the first one holds it.

  Args:
    workdir: folder of the run, which exists.

  Raises:
    OSError: another process trains there; the message of the first process
      names it.
  """
  with contextlib.ExitStack() as stack:
    problem = None
    if jax.process_index() == 0:
      try:
        stack.enter_context(_held(workdir))
      except OSError as error:
        problem = error
    good = multihost_utils.broadcast_one_to_all(np.bool_(problem is None))
    if not good:
      other = OSError(f"{workdir}: see the error of process 0")
      raise problem or other
    yield


@contextlib.contextmanager
def _held(workdir: pathlib.Path) -> Iterator[None]:
  """Holds a workdir for one process.

  A process that finds its workdir taken over ends at once: it was suspended, or
  cut off from the storage, for so long that it was taken for dead.
  """
  path = workdir / FILE
  mine = {
    "host": socket.gethostname(),
    "pid": os.getpid(),
    "started": time.strftime("%Y-%m-%d %H:%M:%S"),
  }
  with contextlib.ExitStack() as stack:
    try:
      locked = stack.enter_context(files.lock(workdir))
    except ValueError as error:
      raise _taken(workdir, _read(path)) from error
    before = _read(path)
    if before and not (locked and before.get("host") == mine["host"]):
      console.say(
        f"{workdir} was in use by {_name(before)}: waiting for {WATCH:g} s "
        "whether it still is"
      )
      if _is_touched(path):
        raise _taken(workdir, before)
    if before:
      console.say(f"taking {workdir} over from {_name(before)}, which is gone")
    files.write_whole(path, json.dumps(mine) + "\n")
    stop = threading.Event()
    thread = threading.Thread(
      target=_touch, args=(path, mine, stop), daemon=True
    )
    thread.start()
    try:
      yield
    finally:
      stop.set()
      thread.join()
      if _read(path) == mine:
        path.unlink(missing_ok=True)


def _touch(path: pathlib.Path, mine: dict, stop: threading.Event) -> None:
  while not stop.wait(BEAT):
    found = _read(path)
    if "pid" in found and found != mine:
      console.end(
        f"error: {_name(found)} has taken {path.parent} over, and trains there"
      )
    # Needs no room on the disk.
    with contextlib.suppress(OSError):
      os.utime(path)


def _is_touched(path: pathlib.Path) -> bool:
  """Whether the file is touched while one watches; no clocks are compared."""
  first, end = _time(path), time.monotonic() + WATCH
  while time.monotonic() < end:
    time.sleep(min(1.0, WATCH / 10))
    now = _time(path)
    if now != first:
      return now is not None  # it is removed at the end of a run
  return False


def _time(path: pathlib.Path) -> int | None:
  try:
    with path.open("rb") as file:  # NFS looks at its server when one opens
      return os.fstat(file.fileno()).st_mtime_ns
  except OSError:
    return None


def _read(path: pathlib.Path) -> dict:
  """Who claims the workdir; empty if nobody does, or nobody knows."""
  try:
    found = files.read_json(path)
  except FileNotFoundError:
    return {}
  except (OSError, ValueError):
    found = None
  return found if isinstance(found, dict) and found else {"host": "?"}


def _name(claim: dict) -> str:
  host, pid = claim.get("host", "?"), claim.get("pid", "?")
  return files.shown(f"process {pid} of host {host}")


def _taken(workdir: pathlib.Path, holder: dict) -> OSError:
  return OSError(
    f"{workdir}: another process trains here: {_name(holder)}, since "
    f"{files.shown(holder.get('started', '?'))}; wait for it, end it, or give "
    "another --workdir"
  )
