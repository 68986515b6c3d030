"""What the processes of one evaluation tell each other.

All processes run the same tasks, each on its share of the data. They meet in
`gather` and `rows`, which every process must call as often as the others. One
whose task fails elsewhere meets the others with its fault, in the same place of
their order, so that none waits for it: all raise Failed then.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float32, UInt8

T = TypeVar("T")
LEAST = 1024  # bytes of a message; larger ones double it, so that few compile


class Fault(NamedTuple):
  """Why a task ended on a process.

  Attributes:
    status: "missing" if its data is missing, else "failed".
    message: what is missing or went wrong.
    brief: message on one line, if the first is not.
  """

  status: Literal["missing", "failed"]
  message: str
  brief: str = ""


class Failed(Exception):
  """A task ended on some process; all processes raise it.

  Attributes:
    fault: fault of the first process that has one.
  """

  def __init__(self, fault: Fault):
    super().__init__(fault.message)
    self.fault = fault


def first() -> bool:
  """Whether this is the process that writes and prints."""
  return jax.process_index() == 0


def share(items: Sequence[T], process: int | None = None) -> Sequence[T]:
  """Returns the items that a process works on: every n-th of n processes.

  Args:
    items: items, the same on every process.
    process: number of the process; None for this one.
  """
  start = jax.process_index() if process is None else process
  return items[start :: jax.process_count()]


def gather(item: Any = None, fault: Fault | None = None) -> list[Any]:
  """Exchanges a value with all processes.

  Args:
    item: anything that JSON can hold.
    fault: why this process cannot go on, if it cannot.

  Returns:
    Values of all processes, in their order.

  Raises:
    Failed: a process has a fault.
  """
  if jax.process_count() == 1:
    if fault:
      raise Failed(fault)
    return [item]
  given = json.dumps({"item": item, "fault": fault}).encode()
  found = [json.loads(text) for text in _messages(given)]
  for number, one in enumerate(found):
    if one["fault"]:
      status, message, brief = one["fault"]
      where = f"on process {number}: "
      raise Failed(
        Fault(status, f"{where}{message}", brief and f"{where}{brief}")
      )
  return [one["item"] for one in found]


def rows(
  mine: Float32[np.ndarray, "_ _"],
) -> list[Float32[np.ndarray, "_ dim"]]:
  """Exchanges rows, of which each process may have any number.

  Args:
    mine: rows of this process; of no width if there are none.

  Returns:
    Rows of each process, in their order.

  Raises:
    Failed: a process has a fault instead.
  """
  sizes = gather(list(mine.shape))
  if len(sizes) == 1:
    return [mine]
  counts = [count for count, _ in sizes]
  wide = max(width for _, width in sizes)  # one without rows knows no width
  padded = np.zeros((max(counts), wide), np.float32)
  padded[: len(mine), : mine.shape[1]] = mine
  found = np.asarray(multihost_utils.process_allgather(padded))
  return [
    rows[:count]
    for count, rows in zip(
      counts, found.reshape(-1, *padded.shape), strict=True
    )
  ]


def agree(what: str, value: Any) -> None:
  """Checks that a value is the same on all processes.

  Args:
    what: its name, for the message.
    value: anything that JSON can hold.

  Raises:
    ValueError: it differs; raised on all processes.
    Failed: a process has a fault instead.
  """
  found = gather(value)
  for number, other in enumerate(found):
    if other != found[0]:
      raise ValueError(
        f"{what} differ between processes: {found[0]!r:.200} on process 0, "
        f"{other!r:.200} on process {number}; all must be given the same"
      )


def _messages(given: bytes) -> list[bytes]:
  """Exchanges bytes of any length."""
  length = np.array([len(given)], np.int32)
  lengths = np.asarray(multihost_utils.process_allgather(length)).ravel()
  size = LEAST
  while size < lengths.max():
    size *= 2
  padded: UInt8[np.ndarray, " size"] = np.zeros(size, np.uint8)
  padded[: len(given)] = np.frombuffer(given, np.uint8)
  found = np.asarray(multihost_utils.process_allgather(padded))
  return [
    row[:count].tobytes()
    for row, count in zip(found.reshape(-1, size), lengths, strict=True)
  ]
