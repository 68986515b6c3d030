"""Finds the phrases of a caption: noun chunks, and expressions around them.

The rules are those of Peng et al., "Kosmos-2" (arXiv 2306.14824, section 2), as
far as they are published. All spans are [start, end) in characters of the
caption as stored.
"""

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.ground import language
from hyperclip_jax.data.records import texts

Span = tuple[int, int]  # first character, and the one after the last

ABSTRACT = pathlib.Path(__file__).parent / "assets/abstract.txt"
BATCH = 256  # captions that the parser takes together

# The components that noun chunks do not need. `attribute_ruler` sets the parts
# of speech: without it there are no noun chunks, and no error.
_EXCLUDED = ("ner", "lemmatizer", "senter")
_TRIAL = "a dog in a field of flowers"
_TRIAL_CHUNKS = ("a dog", "a field", "flowers")


class Phrase(NamedTuple):
  """A noun chunk with its referring expression.

  Attributes:
    chunk: span of the chunk, which the detector looks for.
    expression: span of the chunk with all that depends on it; the chunk itself
      if nothing does.
  """

  chunk: Span
  expression: Span


class Parsed(NamedTuple):
  """Phrases of a caption.

  Attributes:
    phrases: in the order of the caption, each wording once.
    fault: why there are none; "" if there are some.
  """

  phrases: tuple[Phrase, ...]
  fault: str = ""


def load(name: str) -> Any:
  """Loads an English parser of spaCy and tries it on a sentence.

  Args:
    name: name of an installed model, or its folder.

  Returns:
    Parser, a `spacy.language.Language`.

  Raises:
    ModuleNotFoundError: spaCy is not installed.
    ValueError: there is no such model, or it does not find noun chunks.
  """
  try:
    import spacy
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "spaCy parses the captions: pip install 'hyperclip-jax[ground]'"
    ) from error
  try:
    parser = spacy.load(str(files.expanded(name)), exclude=_EXCLUDED)
  except (OSError, ValueError) as error:
    reason = files.shown(" ".join(str(error).split()))
    raise ValueError(
      f"--spacy_model={files.shown(name)}: not loaded ({reason}); give the "
      "name of an installed model or its folder (docs/grounding.md)"
    ) from error
  check(parser, name)
  return parser


def check(parser: Any, name: str) -> None:
  """Checks that a parser finds the noun chunks of a simple sentence.

  A model without one of its parts finds none in any caption, silently.

  Args:
    parser: parser of spaCy.
    name: name of the model, for the message.

  Raises:
    ValueError: it finds others.
  """
  try:
    found = tuple(chunk.text for chunk in parser(_TRIAL).noun_chunks)
  except (ValueError, NotImplementedError) as error:  # E029, E894: no parser
    raise ValueError(
      f"--spacy_model={files.shown(name)} has no dependency parser for English "
      f"(its parts: {', '.join(parser.pipe_names) or 'none'})"
    ) from error
  if found != _TRIAL_CHUNKS:
    raise ValueError(
      f"--spacy_model={files.shown(name)} finds {list(found)} in {_TRIAL!r}, "
      f"want {list(_TRIAL_CHUNKS)}; it needs a tagger, a parser and an "
      "attribute ruler for English"
    )


def read_abstract(path: pathlib.Path = ABSTRACT) -> frozenset[str]:
  """Reads a list of abstract nouns: a word a line, and comments after `#`.

  Raises:
    ValueError: it is not UTF-8.
    OSError: it cannot be read.
  """
  rows = (row.partition("#")[0] for row in files.read_text(path).split("\n"))
  return frozenset(row.strip().lower() for row in rows if row.strip())


def parse(
  parser: Any, captions: Iterable[str], abstract: frozenset[str]
) -> Iterator[Parsed]:
  """Finds the phrases of captions.

  Args:
    parser: parser of spaCy, from `load`.
    captions: captions as stored; beyond 8192 characters they are not parsed.
    abstract: lower-case nouns whose phrases are left out.

  Yields:
    Phrases of each caption.
  """
  # Each control character becomes a blank, so that no offset moves.
  shown = [texts.printable(caption[: texts.MAX_TEXT]) for caption in captions]
  english = list(map(language.is_english, shown))
  wanted = (text for text, good in zip(shown, english, strict=True) if good)
  parsed = iter(parser.pipe(wanted, batch_size=BATCH))
  for text, good in zip(shown, english, strict=True):
    if not good:
      yield Parsed((), "caption not English")
      continue
    doc = next(parsed)
    if not text.strip():
      yield Parsed((), "no caption")
      continue
    found = tuple(phrases(doc, abstract))
    yield Parsed(found, "" if found else "no phrase in the caption")


def phrases(doc: Any, abstract: frozenset[str]) -> Iterator[Phrase]:
  """Yields the phrases of a parsed caption.

  Left out are chunks that a detector cannot look for: those whose head is a
  pronoun or in `abstract`, and those of stop words, numbers and signs alone. Of
  chunks that differ in case alone the first is kept.

  Args:
    doc: parsed caption, a `spacy.tokens.Doc`.
    abstract: lower-case nouns.

  Yields:
    Phrases in the order of the caption.
  """
  seen = set()
  for chunk in doc.noun_chunks:
    name = chunk.text.strip().lower()
    if name not in seen and _is_concrete(chunk, abstract):
      seen.add(name)
      yield Phrase(_span(chunk), _expression(chunk))


def largest(spans: Sequence[Span]) -> list[bool]:
  """Marks the spans that no other one contains, as the paper keeps them.

  Args:
    spans: spans of one caption, some of which may be equal.

  Returns:
    Whether to keep each; equal spans do not contain each other.
  """
  return [
    not any(
      other != span and other[0] <= span[0] and span[1] <= other[1]
      for other in spans
    )
    for span in spans
  ]


def _is_concrete(chunk: Any, abstract: frozenset[str]) -> bool:
  head = chunk.root.lower_
  return not (
    chunk.root.pos_ == "PRON"
    or head in abstract
    or head.removesuffix("s") in abstract
    or all(_is_empty(token) for token in chunk)
  )


def _is_empty(token: Any) -> bool:
  """Checks for a stop word, a number, or a token without a letter."""
  letters = any(letter.isalpha() for letter in token.text)
  return token.is_stop or token.like_num or not letters


def _expression(chunk: Any) -> Span:
  """Returns the span of a chunk with all tokens below its head.

  It is the chunk's own span if the head has conjuncts ("a dog and a cat"), if
  only punctuation or blanks would be added, or if the tokens are not adjacent.
  """
  tokens = sorted(chunk.root.subtree, key=lambda token: token.i)
  added = [t for t in tokens if not chunk.start <= t.i < chunk.end]
  gaps = tokens[-1].i - tokens[0].i + 1 != len(tokens)
  blank = all(token.is_punct or token.is_space for token in added)
  if chunk.root.conjuncts or gaps or blank:
    return _span(chunk)
  return _span(tokens)


def _span(tokens: Iterable[Any]) -> Span:
  """Returns the characters of tokens in order, without blanks at the ends."""
  solid = [token for token in tokens if not token.is_space]
  return solid[0].idx, solid[-1].idx + len(solid[-1])
