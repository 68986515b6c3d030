"""Transitive closures of hierarchies: all pairs of a node and one above it."""

import csv
import io
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hyperclip_jax import files
from hyperclip_jax.data import synsets
from hyperclip_jax.data.feed import wordnet

MOST = 2**28  # bytes of a file of edges
Parents = Mapping[str, Sequence[str]]


class Closure(NamedTuple):
  """Relation of a hierarchy to be embedded.

  Attributes:
    names: name of each node.
    pairs: numbers of a node and of one above it, in each row.
  """

  names: tuple[str, ...]
  pairs: Int[np.ndarray, "pairs 2"]

  def above(self) -> Int[np.ndarray, "nodes most"]:
    """Lists the nodes above each node, filled up with -1."""
    counts = np.bincount(self.pairs[:, 0], minlength=len(self.names))
    order = np.argsort(self.pairs[:, 0], kind="stable")
    rows = self.pairs[order, 0]
    starts = np.cumsum(counts) - counts
    table = np.full((len(self.names), max(1, counts.max())), -1, np.int32)
    table[rows, np.arange(len(rows)) - starts[rows]] = self.pairs[order, 1]
    return table


def closure(
  parents: Parents, root: str = "", left_out: Collection[str] = ()
) -> Closure:
  """Makes the transitive closure of a hierarchy.

  Args:
    parents: node -> its parents; those without parents may be missing.
    root: node to which the closure is restricted, with all below it; "" for no
      restriction.
    left_out: nodes whose pairs with those above them are left out. Nodes that
      are then in no pair are left out, too.

  Returns:
    Closure; nodes and pairs in the order of `parents`.

  Raises:
    ValueError: a node is above itself, there is no such root, or no pair is
      left.
  """
  ancestors = _ancestors(parents)
  known = {*ancestors}
  if root and root not in known:
    raise ValueError(f"no node '{files.shown(root)}' in the hierarchy")

  def inside(node: str) -> bool:
    return not root or node == root or root in ancestors[node]

  found = [
    (node, other)
    for node, above in ancestors.items()
    if node not in left_out and inside(node)
    for other in above
    if inside(other)
  ]
  if not found:
    raise ValueError("the hierarchy has no pair of a node and one above it")
  taken = {name for pair in found for name in pair}
  names = tuple(name for name in ancestors if name in taken)
  numbers = {name: number for number, name in enumerate(names)}
  pairs = [(numbers[node], numbers[other]) for node, other in found]
  return Closure(names, np.array(pairs, np.int32))


def _ancestors(parents: Parents) -> dict[str, list[str]]:
  """Maps each node to all nodes above it, nearest first."""
  found: dict[str, list[str]] = {}
  for first in [*parents, *(p for above in parents.values() for p in above)]:
    way, todo = set(), [first]
    while todo:
      node = todo[-1]
      missing = [p for p in parents.get(node, ()) if p not in found]
      if node in found or not missing:
        todo.pop()
        way.discard(node)
        near = parents.get(node, ())
        far = (far for p in near for far in found[p])
        found.setdefault(node, [*dict.fromkeys([*near, *far])])
      elif node in way:
        raise ValueError(f"'{files.shown(node)}' is above itself")
      else:
        way.add(node)
        todo += missing
  return found


def read_edges(path: str | pathlib.Path) -> dict[str, list[str]]:
  """Reads a hierarchy from a file of edges.

  Args:
    path: CSV file, each row a node and one of its parents; a first row
      "id1,id2" and further columns, as in files of other programs, are skipped.

  Returns:
    Node -> its parents.

  Raises:
    ValueError: a row is not an edge.
    OSError: the file cannot be read.
  """
  path = files.expanded(path)
  found: dict[str, list[str]] = {}
  rows = csv.reader(io.StringIO(files.read_text(path, MOST), newline=""))
  for number, row in enumerate(rows, 1):
    if not row or (number == 1 and row[:2] == ["id1", "id2"]):
      continue
    if len(row) < 2 or not row[0] or not row[1]:
      raise ValueError(
        f"{path}, row {number}: want NODE,PARENT, found "
        f"{files.shown(','.join(row))}"
      )
    found.setdefault(row[0], []).append(row[1])
  return found


def nouns(folder: str | pathlib.Path) -> dict[str, list[str]]:
  """Reads the hierarchy of WordNet's nouns.

  Nouns are named as in NLTK, by their first word and the place of the meaning
  among those of the word, such as mammal.n.01. Classes of instances count as
  parents.

  Args:
    folder: folder of index.noun and data.noun, such as /usr/share/wordnet of
      Debian's wordnet-base.

  Returns:
    Noun -> its hypernyms.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is not one of WordNet's.
  """
  folder = files.expanded(folder)
  data, index = folder / "data.noun", folder / "index.noun"
  for path in (data, index):
    if not path.is_file():
      raise FileNotFoundError(
        f"{path}: no such file: give the folder of WordNet's index.noun and "
        "data.noun, such as /usr/share/wordnet of Debian's wordnet-base, or "
        "corpora/wordnet of NLTK's data"
      )
  senses = wordnet.index(index)
  try:
    found = [*synsets.every(files.read_bytes(data, wordnet.MOST))]
    names = {one.offset: _name(one, senses) for one in found}
    return {
      names[one.offset]: [names[offset] for offset in one.above]
      for one in found
    }
  except (ValueError, KeyError) as error:
    raise ValueError(f"{data}: no file of WordNet's nouns: {error}") from error


def _name(synset: synsets.Synset, senses: Mapping[str, Sequence[int]]) -> str:
  lemma = synset.lemmas[0].lower()
  return f"{lemma}.n.{senses[lemma].index(synset.offset) + 1:02d}"
