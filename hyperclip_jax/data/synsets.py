"""Synsets of WordNet's data files (see wndb(5WN))."""

from collections.abc import Iterator
from typing import NamedTuple

# Pointers to what is above: hypernyms of a kind, and of an instance.
_ABOVE = ("@", "@i")
_LICENCE = b"  "  # how its lines start


class Synset(NamedTuple):
  """Words of one meaning, and the meanings above it.

  Attributes:
    offset: byte at which its line starts, which is its name in other lines.
    kind: "n", "v", "a", "s" or "r".
    lemmas: words, spelled as in the file.
    above: offsets of its hypernyms.
  """

  offset: int
  kind: str
  lemmas: tuple[str, ...]
  above: tuple[int, ...]


def at(data: bytes, offset: int) -> Synset:
  """Parses the synset whose line starts at an offset.

  Args:
    data: content of a data file, such as data.noun.
    offset: first byte of a line.

  Returns:
    Synset.

  Raises:
    ValueError: no synset starts there.
  """
  end = data.find(b"\n", offset)
  line = data[offset : len(data) if end < 0 else end]
  return _parsed(line, offset)


def every(data: bytes) -> Iterator[Synset]:
  """Parses all synsets of a data file.

  Args:
    data: content of the file.

  Yields:
    Synsets in the order of the file.

  Raises:
    ValueError: a line is not that of a synset.
  """
  offset = 0
  for line in data.split(b"\n"):
    if line and not line.startswith(_LICENCE):
      yield _parsed(line, offset)
    offset += len(line) + 1


def _parsed(line: bytes, offset: int) -> Synset:
  # offset, file, kind, count of words (hexadecimal), (word, sense)*, count of
  # pointers, (symbol, offset, kind, places)*
  try:
    words = line.split(b" | ")[0].decode("utf-8").split()
    first = 4 + 2 * int(words[3], 16) + 1
    last = first + 4 * int(words[first - 1])
    pointers = [words[i : i + 3] for i in range(first, last, 4)]
    above = tuple(int(to) for symbol, to, _ in pointers if symbol in _ABOVE)
    found = int(words[0])
  except (IndexError, ValueError):
    found = -1
  if found != offset:
    raise ValueError(f"no synset at byte {offset}; is it WordNet 3.0's file?")
  # Adjectives may have a mark of their place, such as "(p)".
  lemmas = tuple(lemma.partition("(")[0] for lemma in words[4 : first - 1 : 2])
  return Synset(offset, words[2], lemmas, above)
