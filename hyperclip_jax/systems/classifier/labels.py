"""Class labels as texts: a tokenizer whose only words are names of classes."""

import csv
import io
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from hyperclip_jax import files
from hyperclip_jax.data.feed.tokenizer import strings
from hyperclip_jax.data.records import texts as texts_lib

Edges = Sequence[Sequence[str]]  # node and one of its parents, each


class Hierarchy(NamedTuple):
  """Classes, and what is above them.

  Attributes:
    classes: names of the classes.
    edges: pairs of a node and one of its parents.
  """

  classes: tuple[str, ...]
  edges: tuple[tuple[str, str], ...]


class Labels:
  """Converts texts to rows `[number, 0, 0, ...]` of the class they name.

  Classes are numbered from 1. A text that names no class, or several, is 0.
  Names are found as whole words in any case; within a longer name, a shorter
  one does not count. A node below one class in the hierarchy names it, too.
  Thread-safe.

  Attributes:
    end: id that no text has; texts of any length are one token.
  """

  end = -1

  def __init__(self, names: Sequence[str], edges: Edges = ()):
    """Prepares to find names.

    Args:
      names: names of the classes.
      edges: pairs of a node and one of its parents.
    """
    self._names = tuple(names)
    self._numbers = {plain(name): i for i, name in enumerate(names, 1)}
    below = {
      plain(node): _only(self._numbers.get(plain(one), 0) for one in above)
      for node, above in _above(edges).items()
    }
    self._numbers = below | self._numbers
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
    words = {*self._pattern.findall(plain(text))}
    return _only(self._numbers[word] for word in words)


def read(path: str | pathlib.Path) -> Hierarchy:
  """Reads classes, and their hierarchy if there is one, from a file.

  Args:
    path: CSV file. A row is a node and one of its parents, or a class alone.
      Classes are the nodes that are no parent.

  Returns:
    Classes in the order of the file, and the edges.

  Raises:
    ValueError: a row is another, or there is no class.
    OSError: the file cannot be read.
  """
  path = files.expanded(path)
  text = files.read_text(path)
  edges, names = [], dict[str, None]()
  for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1):
    cells = [" ".join(cell.split()) for cell in row]
    if not any(cells):
      continue
    if not 0 < len(cells) < 3 or not all(cells):
      raise ValueError(
        f"{files.shown(path)}, row {number}: want CLASS or CLASS,PARENT, found "
        f"{files.shown(','.join(row))}"
      )
    names[cells[0]] = None
    if len(cells) == 2:
      edges.append((cells[0], cells[1]))
  parents = {parent for _, parent in edges}
  classes = tuple(name for name in names if name not in parents)
  if not classes:
    raise ValueError(f"{files.shown(path)}: no class")
  return Hierarchy(classes, tuple(edges))


def parents(classes: Sequence[str], edges: Edges) -> dict[str, tuple[str, ...]]:
  """Makes a hierarchy as a mapping, as evaluation takes it.

  Args:
    classes: names of the classes.
    edges: pairs of a node and one of its parents.

  Returns:
    Node -> its parents, which are nodes too; none if there are no edges.
  """
  if not edges:
    return {}
  found: dict[str, tuple[str, ...]] = dict.fromkeys(classes, ())
  for node, parent in edges:
    found.setdefault(parent, ())
    found[node] = (*found.get(node, ()), parent)
  return found


def plain(text: str) -> str:
  """Normalises a text or name such that equal ones are the same."""
  return texts_lib.normalise(text).casefold()


def _only(numbers: Iterable[int]) -> int:
  """Returns the one number among some that is not 0, or 0."""
  found = {number for number in numbers if number}
  return found.pop() if len(found) == 1 else 0


def _above(edges: Edges) -> Mapping[str, set[str]]:
  """Maps each node to itself and all nodes above it."""
  near = parents((), edges)
  found: dict[str, set[str]] = {}

  def look(node: str) -> set[str]:
    if node not in found:
      found[node] = {node}  # ends cycles, which options refuse
      found[node] = {node}.union(*map(look, near[node]))
    return found[node]

  for node in near:
    look(node)
  return found
