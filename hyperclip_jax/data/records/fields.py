"""Reads fields of a record from untrusted data: texts, JSON, numbers.

A bad field raises `RecordError`, which names the shard, the key, the field and
the value found.
"""

import json
import math
import reprlib
from collections.abc import Sequence
from typing import Any, NoReturn

from hyperclip_jax import files
from hyperclip_jax.data.records import texts
from hyperclip_jax.data.records.record import RecordError


def text(content: bytes, field: str, where: str) -> str:
  """Decodes the text of a member.

  Args:
    content: bytes of the member.
    field: name of the member, for messages.
    where: shard and key of the record, for messages.

  Returns:
    Text of the member.

  Raises:
    RecordError: it is absurdly large or not UTF-8.
  """
  if len(content) > texts.MAX_TEXT_BYTES:
    problem = (
      f"{len(content):,} bytes, at most {texts.MAX_TEXT_BYTES:,} are read"
    )
    fail(where, field, problem, "member too large")
  try:
    return content.decode("utf-8")
  except UnicodeDecodeError as error:
    fail(where, field, f"not UTF-8 ({error})", "not utf-8")


def json_object(content: bytes, field: str, where: str) -> dict[str, Any]:
  """Parses a JSON member.

  Args:
    content: bytes of the member.
    field: name of the member, for messages.
    where: shard and key of the record, for messages.

  Returns:
    The object, as a dict.

  Raises:
    RecordError: it is not a JSON object, absurdly large or not UTF-8.
  """
  found = text(content, field, where)
  try:
    value = json.loads(found)
  except (ValueError, RecursionError) as error:
    fail(where, field, f"not JSON ({error})", "bad json")
  if not isinstance(value, dict):
    problem = f"found {shown(value)}, want an object"
    fail(where, field, problem, "bad json")
  return value


def floats(values: Any, count: int) -> list[float] | None:
  """Converts a sequence of numbers to floats.

  Args:
    values: any value.
    count: number of floats wanted.

  Returns:
    Floats, which may be infinite or NaN; None if `values` is anything else.
  """
  if not isinstance(values, Sequence) or len(values) != count:
    return None
  found = []
  for value in values:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      return None
    try:
      found.append(float(value))
    except OverflowError:
      found.append(math.inf)
  return found


def fail(where: str, field: str, problem: str, reason: str) -> NoReturn:
  """Raises RecordError.

  Args:
    where: shard and key of the record.
    field: name of the bad field.
    problem: value found and value wanted.
    reason: short form of the problem, under which it is counted.

  Raises:
    RecordError: always.
  """
  raise RecordError(f"{where}, {field}: {problem}", reason)


def shown(value: Any) -> str:
  """Formats an untrusted value for a message."""
  return files.shown(reprlib.repr(value))
