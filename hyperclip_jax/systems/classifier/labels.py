"""Class labels as texts: a tokenizer whose only words are names of classes."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from hyperclip_jax.data.feed.tokenizer import strings
from hyperclip_jax.data.records import texts as texts_lib


class Labels:
  """Converts texts to rows `[number, 0, 0, ...]` of the class they name.

  Classes are numbered from 1. A text that names no class, or several, is 0.
  Names are found as whole words in any case; within a longer name, a shorter
  one does not count. Thread-safe.

  Attributes:
    end: id that no text has; texts of any length are one token.
  """

  end = -1

  def __init__(self, names: Sequence[str]):
    """Prepares to find names.

    Args:
      names: names of the classes.
    """
    self._names = tuple(names)
    self._numbers = {_plain(name): i for i, name in enumerate(names, 1)}
    longest = sorted(self._numbers, key=len, reverse=True)
    words = "|".join(map(re.escape, longest))
    self._pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)")

  def __call__(
    self, texts: Iterable[Any], context: int = 1
  ) -> Int32[np.ndarray, "texts context"]:
    """Finds the classes of texts.

    Args:
      texts: captions.
      context: length of a row.

    Returns:
      Rows of ids.
    """
    found = [self.number(text) for text in strings(texts)]
    rows = np.zeros((len(found), context), np.int32)
    rows[:, 0] = found
    return rows

  def lengths(self, texts: Iterable[Any]) -> Int64[np.ndarray, " texts"]:
    """Counts one token for each text."""
    return np.ones(len(strings(texts)), np.int64)

  def decode(self, ids: Sequence[int] | Int32[np.ndarray, " context"]) -> str:
    """Returns the name of the class of a row, or ""."""
    number = int(ids[0]) if len(ids) else 0
    return self._names[number - 1] if number > 0 else ""

  def number(self, text: str) -> int:
    """Returns the number of the one class that a text names, or 0."""
    named = {*self._pattern.findall(_plain(text))}
    return self._numbers[named.pop()] if len(named) == 1 else 0


def _plain(text: str) -> str:
  return texts_lib.normalise(text).casefold()
