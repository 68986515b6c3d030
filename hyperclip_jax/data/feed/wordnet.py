"""Synonyms from the database files of WordNet (Fellbaum, 1998)."""

import pathlib
import re
from collections.abc import Iterator

from hyperclip_jax import files
from hyperclip_jax.data import synsets

KINDS = ("noun", "verb", "adj", "adv")
MOST = 2**26  # bytes of a file; the largest of WordNet 3.0 has 15.3 million
# Endings of inflected words -> endings to try, by kind (WordNet's morphy).
ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
  "noun": (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"),
    ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
  ),
  "verb": (
    ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""),
    ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
  ),
  "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
  "adv": (),
}  # fmt: skip
_NOT_A_LETTER = re.compile(r"[^a-z ]")


class WordNet:
  """Synonyms of English words; thread-safe."""

  def __init__(self, folder: str | pathlib.Path):
    """Reads the database files.

    Args:
      folder: folder of index.noun, data.noun, noun.exc and those of verb, adj
        and adv, such as /usr/share/wordnet of Debian's wordnet-base, or
        corpora/wordnet of NLTK's data.

    Raises:
      FileNotFoundError: a file is missing; says where to get them.
      ValueError: a file is not one of WordNet's.
    """
    folder = files.expanded(folder)
    missing = [
      name
      for kind in KINDS
      for name in (f"index.{kind}", f"data.{kind}", f"{kind}.exc")
      if not (folder / name).is_file()
    ]
    if missing:
      raise FileNotFoundError(
        f"{folder}: no WordNet, as {missing[0]} is missing: give the folder "
        "of index.noun and data.noun, such as /usr/share/wordnet of Debian's "
        "wordnet-base, or corpora/wordnet of NLTK's data"
      )
    self._data: dict[str, bytes] = {}
    self._index: dict[str, dict[str, list[int]]] = {}
    self._exceptions: dict[str, dict[str, list[str]]] = {}
    for kind in KINDS:
      self._data[kind] = files.read_bytes(folder / f"data.{kind}", MOST)
      self._index[kind] = index(folder / f"index.{kind}")
      text = files.read_text(folder / f"{kind}.exc", MOST)
      rows = (line.split() for line in files.lines(text))
      self._exceptions[kind] = {row[0]: row[1:] for row in rows if row}
    self._known: dict[str, tuple[str, ...]] = {}

  def synonyms(self, word: str) -> tuple[str, ...]:
    """Finds all lemmas of all meanings of a word, or of its base form.

    Args:
      word: word in any case.

    Returns:
      Synonyms in lower-case letters and single spaces, sorted, without the
      word.
    """
    if word not in self._known:
      found = {_cleaned(lemma) for lemma in self._lemmas(word.lower())}
      self._known[word] = tuple(sorted(found - {"", word}))
    return self._known[word]

  def _lemmas(self, word: str) -> Iterator[str]:
    for kind in KINDS:
      for form in self._forms(word, kind):
        for offset in self._index[kind][form]:
          yield from synsets.at(self._data[kind], offset).lemmas

  def _forms(self, word: str, kind: str) -> list[str]:
    """Base forms in the index, and the word itself if it is there."""
    index = self._index[kind]
    exceptions = self._exceptions[kind].get(word)
    if exceptions is not None:
      return [form for form in {word, *exceptions} if form in index]
    forms = [word]
    kept = {word}
    while forms:
      forms = [
        form[: -len(end)] + other
        for form in forms
        for end, other in ENDINGS[kind]
        if form.endswith(end)
      ]
      found = [form for form in kept.union(forms) if form in index]
      if found:
        return found
      kept = set()
    return []


def _cleaned(lemma: str) -> str:
  spaced = lemma.lower().replace("_", " ").replace("-", " ")
  return " ".join(_NOT_A_LETTER.sub("", spaced).split())


def index(path: pathlib.Path) -> dict[str, list[int]]:
  """Reads an index file.

  Args:
    path: file, such as index.noun.

  Returns:
    Lemma in lower-case letters -> offsets of its synsets, the commonest
    meaning first.

  Raises:
    ValueError: it is not one of WordNet's.
  """
  found = {}
  try:
    for line in files.read_text(path, MOST).split("\n"):
      if not line or line.startswith(" "):  # of the licence
        continue
      fields = line.split()
      count = int(fields[2])
      # the last fields of the line
      found[fields[0]] = [int(offset) for offset in fields[-count:]]
  except (ValueError, IndexError) as error:
    raise ValueError(f"{path}: no index of WordNet: {error}") from error
  return found
