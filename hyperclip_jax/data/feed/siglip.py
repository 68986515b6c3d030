"""The tokenizer of SigLIP: sentence pieces of canonical texts.

Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023; its pieces are
those of a `tokenizer.json` of Hugging Face, such as of timm/ViT-B-16-SigLIP.
"""

import functools
import html
import string
from collections.abc import Iterable, Sequence
from typing import Any

import ftfy
import numpy as np
import tokenizers
from jaxtyping import Int32, Int64

from hyperclip_jax import files
from hyperclip_jax.data.feed.tokenizer import MAX_CHARACTERS, strings
from hyperclip_jax.files import shown

FILE = "tokenizer.json"
END, END_TOKEN = 1, "</s>"  # pads, too
MAX_FILE = 100_000_000  # bytes; SigLIP's has a few million
_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def canonical(text: str) -> str:
  """Repairs the encoding, unescapes HTML, drops punctuation, lowers.

  Underscores become spaces, other ASCII punctuation leaves none behind, and
  white space is collapsed.

  Args:
    text: a caption as found on the web; the first 8192 characters are read.

  Returns:
    The text that is split into pieces.

  Examples:
    >>> canonical("It's 5 o'clock -- time for_tea!")
    'its 5 oclock time for tea'
  """
  text = text[:MAX_CHARACTERS]
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return " ".join(text.translate(_PUNCTUATION).lower().split())


class Tokenizer:
  """Converts captions to rows `[pieces, 1, 1, ...]`; thread-safe.

  Attributes:
    vocab_size: number of ids.
    end: id at the end of every caption, and of padding.
  """

  def __init__(self, source: str, vocab_size: int):
    """Loads the pieces.

    Args:
      source: path of a tokenizer.json, or "hf-hub:org/name[@revision]".
      vocab_size: number of ids that the model knows.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the extra `hub` is missing.
      OSError: the hub has no such file, or cannot be reached.
      ValueError: it is no tokenizer, or none of SigLIP's kind.
    """
    self._source, self.vocab_size, self.end = source, vocab_size, END
    self._pieces = _load(source)
    count = self._pieces.get_vocab_size()
    if count > vocab_size:
      raise ValueError(
        f"{source}: a tokenizer of {count:,} ids for a model of "
        f"{vocab_size:,}: give the tokenizer of the model"
      )

  def __reduce__(self):
    # A copy in another process reads its own file.
    return Tokenizer, (self._source, self.vocab_size)

  def __call__(
    self, texts: Iterable[Any], context: int = 64
  ) -> Int32[np.ndarray, "texts context"]:
    """Tokenizes a batch of captions.

    Args:
      texts: captions, each a string in any script.
      context: length of a row. Longer captions are cut and keep the end token;
        `lengths` finds them.

    Returns:
      Token ids, one row a caption, right-padded with the end token.

    Raises:
      TypeError: `texts` is not a list of strings; the message names the one
        that is not.
      ValueError: the end token does not fit in the context.
    """
    if context < 1:
      raise ValueError(f"context is {context}: the end token takes 1")
    found = self._all_ids(texts)
    rows = np.full((len(found), context), self.end, np.int32)
    for row, ids in zip(rows, found, strict=True):
      kept = ids[: context - 1]
      row[: len(kept)] = kept
    return rows

  def lengths(self, texts: Iterable[Any]) -> Int64[np.ndarray, " texts"]:
    """Counts the tokens of captions, including the end token.

    A caption with more tokens than the context is cut. Only the first 8192
    characters of a caption are counted.

    Raises:
      TypeError: as for a call.
    """
    return np.array([len(ids) + 1 for ids in self._all_ids(texts)], np.int64)

  def decode(self, ids: Sequence[int] | Int32[np.ndarray, " context"]) -> str:
    """Reads the pieces of one row back, up to the end token.

    Args:
      ids: one row, or the ids of some pieces.
    """
    ids = [int(i) for i in ids]
    if self.end in ids:
      ids = ids[: ids.index(self.end)]
    return self._pieces.decode(ids)

  def _all_ids(self, texts: Iterable[Any]) -> list[list[int]]:
    clean = [canonical(text) for text in strings(texts)]
    encoded = self._pieces.encode_batch(clean, add_special_tokens=False)
    return [one.ids for one in encoded]


@functools.lru_cache(maxsize=4)
def _load(source: str) -> tokenizers.Tokenizer:
  path = files.fetched(source, FILE)
  text = files.read_text(path, MAX_FILE)
  try:
    found = tokenizers.Tokenizer.from_str(text)
  except Exception as error:  # of the library, which has no class of its own
    raise ValueError(f"{path}: no tokenizer: {shown(error)}") from error
  if found.token_to_id(END_TOKEN) != END:
    raise ValueError(
      f"{path}: not of SigLIP's kind: its end token {END_TOKEN} must have the "
      f"id {END}, found {found.token_to_id(END_TOKEN)}"
    )
  found.no_padding()
  found.no_truncation()
  return found
