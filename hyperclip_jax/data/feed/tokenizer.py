"""The CLIP tokenizer: converts captions to padded rows of token ids.

Byte-pair encoding with an end-of-word suffix over lower-cased, cleaned text
(Radford et al., "Learning transferable visual models from natural language
supervision", 2021). The merges are the file in `assets`; see its NOTICE.
"""

import functools
import gzip
import html
import itertools
import os
import re
import reprlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Protocol, runtime_checkable

import ftfy
import numpy as np
import tokenizers
from jaxtyping import Int32, Int64
from tokenizers import decoders, models, pre_tokenizers

# The loader has threads of its own: a pool of threads inside of each would only
# compete for the same cores (and warns after a fork).
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

MERGES = "assets/bpe_simple_vocab_16e6.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"
VOCAB_SIZE = 49_408
BYTES = 512  # ids of bytes: within a word, and at its end
# Three times what 75 tokens can spell. ftfy unescapes "&amp;amp;amp;..." one
# layer a pass: without a limit, 100 kB of it would take half a minute.
MAX_CHARACTERS = 8192
# Longer words rarely recur, and 65,536 words of 8 kB would fill the memory.
MAX_KEPT = 32
_SPLIT = pre_tokenizers.Split(
  tokenizers.Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
  ),
  behavior="removed",
  invert=True,
)
# The same of lower-cased ASCII, which nearly every text is; seven times faster.
_ASCII_WORDS = re.compile(r"'(?:[stmd]|re|ve|ll)|[a-z]+|[0-9]|[^\sa-z0-9]+")


def clean(text: str) -> str:
  """Repairs the encoding, unescapes HTML, collapses white space, lowers.

  Args:
    text: a caption as found on the web; the first 8192 characters are read.

  Returns:
    The text that CLIP splits into words.
  """
  text = text[:MAX_CHARACTERS]
  # ftfy takes longer than the rest together. It leaves printable ASCII alone
  # but for HTML entities, and nothing else has an ampersand to unescape.
  if not (text.isascii() and text.isprintable() and "&" not in text):
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return " ".join(text.split()).lower()


@runtime_checkable
class AnyTokenizer(Protocol):
  """Interface of the tokenizers of all systems.

  Attributes:
    end: id at the end of every caption.
  """

  end: int

  def __call__(
    self, texts: Iterable[Any], context: int = 77
  ) -> Int32[np.ndarray, "texts context"]:
    """Tokenizes captions.

    Args:
      texts: captions.
      context: length of a row; longer captions are cut and keep the end token.

    Returns:
      Token ids, padded on the right.
    """
    ...

  def lengths(self, texts: Iterable[Any]) -> Int64[np.ndarray, " texts"]:
    """Counts the tokens of captions, including what starts and ends them."""
    ...

  def decode(self, ids: Sequence[int] | Int32[np.ndarray, " context"]) -> str:
    """Reads the text of one row back, up to the end token."""
    ...


def strings(texts: Iterable[Any]) -> list[str]:
  """Checks that captions are a list of strings.

  Raises:
    TypeError: they are not; the message names the first that is not one.
  """
  if isinstance(texts, (str, bytes)):
    raise TypeError(f"texts is {texts[:40]!r}: pass [text]")
  if not isinstance(texts, Iterable):
    raise TypeError(f"texts is {texts!r}, want a list of str")
  found = list(texts)
  for number, text in enumerate(found):
    if not isinstance(text, str):
      shown = reprlib.repr(text)
      raise TypeError(f"text {number} is {shown}, want a str")
  return found


class Tokenizer:
  """Converts captions to rows `[start, words, end, 0, ...]`; thread-safe.

  A caption cannot forge a special token: a literal "<|endoftext|>" in it is
  split into words like any other text. (The published code lets it through.)

  Attributes:
    vocab_size: number of ids, 49,408 for CLIP's.
    start: id at the start of every row, the last but one of the vocabulary.
    end: id at the end of every caption, the last and largest of the vocabulary.
  """

  def __init__(self, vocab_size: int = VOCAB_SIZE):
    """Loads the merges.

    Args:
      vocab_size: number of ids; a smaller vocabulary has CLIP's first merges,
        and splits rarer words into parts. Below 514 ids, the last bytes share
        one.

    Raises:
      ValueError: the size is out of range.
    """
    if not 4 <= vocab_size <= VOCAB_SIZE:
      raise ValueError(
        f"a vocabulary of {vocab_size} is none of CLIP's: 4 to {VOCAB_SIZE:,}"
      )
    self._merges = max(0, vocab_size - BYTES - 2)
    self._bpe = _load(self._merges)
    self.vocab_size = vocab_size
    self.start = vocab_size - 2
    self.end = vocab_size - 1

  def __reduce__(self):
    # A copy in another process reads its own file.
    return Tokenizer, (self.vocab_size,)

  def __call__(
    self, texts: Iterable[Any], context: int = 77
  ) -> Int32[np.ndarray, "texts context"]:
    """Tokenizes a batch of captions.

    Args:
      texts: captions, each a string in any script.
      context: length of a row. Longer captions are cut and keep the end token;
        `lengths` finds them.

    Returns:
      Token ids, one row per caption, right-padded with 0.

    Raises:
      TypeError: `texts` is a string, which would be read as its letters, or a
        caption is not a string; the message names it.
      ValueError: the start and end tokens do not fit in the context.
    """
    if context < 2:
      raise ValueError(f"context is {context}: start and end take 2")
    ids = [words[: context - 2] for words in self._all_ids(texts)]
    rows = np.zeros((len(ids), context), np.int32)
    rows[:, 0] = self.start
    lengths = np.array([len(words) for words in ids], int)
    words = np.fromiter(itertools.chain.from_iterable(ids), np.int32)
    taken = np.arange(context - 1)[None] < lengths[:, None]
    rows[:, 1:][taken] = np.minimum(words, self.start - 1)
    rows[np.arange(len(rows)), lengths + 1] = self.end
    return rows

  def lengths(self, texts: Iterable[Any]) -> Int64[np.ndarray, " texts"]:
    """Counts the tokens of captions, including the start and end tokens.

    A caption with more tokens than the context is cut. Only the first 8192
    characters of a caption are counted.

    Raises:
      TypeError: as for a call.
    """
    return np.array([len(ids) + 2 for ids in self._all_ids(texts)], np.int64)

  def _all_ids(self, texts: Iterable[Any]) -> list[list[int]]:
    """Encodes the words of each text."""
    return [self._ids(clean(text)) for text in strings(texts)]

  def _ids(self, text: str) -> list[int]:
    """Encodes the words of a cleaned text."""
    if text.isascii():
      words = _ASCII_WORDS.findall(text)
    else:
      words = [word for word, _ in _SPLIT.pre_tokenize_str(text)]
    ids = (_word_ids(word, self._merges) for word in words)
    return [*itertools.chain.from_iterable(ids)]

  def decode(self, ids: Sequence[int] | Int32[np.ndarray, " context"]) -> str:
    """Reads the words of one row back, up to the end token.

    Args:
      ids: one row, or the ids of some words.

    Returns:
      The cleaned text, its words and signs separated by single spaces.
    """
    ids = [int(i) for i in ids]
    if self.end in ids:
      ids = ids[: ids.index(self.end)]
    words = self._bpe.decode([i for i in ids if i != self.start])
    return words.replace(SUFFIX, " ").strip()


def cut(
  rows: Int32[np.ndarray, "texts context"], lengths: Sequence[int]
) -> Int32[np.ndarray, "texts length"]:
  """Cuts right padding to the shortest allowed length that fits every text.

  A text ends at the end token, since 0 is also the token of "!".

  Args:
    rows: token ids from a `Tokenizer`.
    lengths: allowed lengths, ascending; the last is the context.

  Returns:
    Token ids, cut on the right.
  """
  longest = int(rows.argmax(axis=1).max()) + 1
  return rows[:, : next(n for n in lengths if n >= longest)]


def _word_ids(word: str, merges: int) -> list[int]:
  kept = len(word) <= MAX_KEPT
  return (_kept_ids if kept else _kept_ids.__wrapped__)(word, merges)


@functools.lru_cache(maxsize=2**16)
def _kept_ids(word: str, merges: int) -> list[int]:
  """Encodes a word, with a cache: few words make up most texts."""
  return _load(merges).encode(word).ids


@functools.cache
def _load(merges: int) -> tokenizers.Tokenizer:
  """Builds the byte-pair encoder; one for all tokenizers of a size."""
  packed = (
    resources.files("hyperclip_jax.data.feed").joinpath(MERGES).read_bytes()
  )
  lines = gzip.decompress(packed).decode().split("\n")
  # CLIP uses the first merges of a longer list, below a header line.
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  pairs = [(a, b) for a, b in map(str.split, lines[1 : merges + 1])]
  vocab = [
    *letters,
    *(letter + SUFFIX for letter in letters),
    *(a + b for a, b in pairs),
    START,
    END,
  ]
  bpe = tokenizers.Tokenizer(
    models.BPE(
      {token: i for i, token in enumerate(vocab)},
      pairs,
      end_of_word_suffix=SUFFIX,
    )
  )
  bpe.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  bpe.decoder = decoders.ByteLevel()
  return bpe
