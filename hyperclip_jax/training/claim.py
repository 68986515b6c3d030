"""Ensures that only one run trains in a workdir at a time.

On one machine a kernel lock does this, and is released when its process dies.
Machines that share a workdir over a network often have no common lock: there
the owner touches a file at regular intervals, and a newcomer that finds the
file watches for a while whether it is still being touched.
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
BEAT = 10.0  # seconds between touches
WATCH = 60.0  # seconds without a touch after which the owner counts as dead


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
  """Context manager that keeps other runs out of a workdir.

  All processes of a run must enter it together; process 0 holds the claim.

  Args:
    workdir: existing folder of the run.

  Raises:
    OSError: another process trains there; the message of process 0 names it.
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
  """Context manager that holds a workdir for this process.

  A process that finds its workdir taken over ends at once: it was suspended or
  cut off from storage for so long that it counted as dead.
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
        f"{workdir} was in use by {_name(before)}: waiting {WATCH:g} s "
        "to see whether it still is"
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
    # Unlike writing, this works on a full disk.
    with contextlib.suppress(OSError):
      os.utime(path)


def _is_touched(path: pathlib.Path) -> bool:
  """Watches whether the file is touched, without comparing clocks."""
  first, end = _time(path), time.monotonic() + WATCH
  while time.monotonic() < end:
    time.sleep(min(1.0, WATCH / 10))
    now = _time(path)
    if now != first:
      return now is not None  # a run removes the file when it ends
  return False


def _time(path: pathlib.Path) -> int | None:
  try:
    with path.open("rb") as file:  # opening makes NFS ask its server
      return os.fstat(file.fileno()).st_mtime_ns
  except OSError:
    return None


def _read(path: pathlib.Path) -> dict:
  """Reads who claims the workdir; empty if nobody does."""
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
