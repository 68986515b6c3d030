"""Edits of captions: stop words, synonyms, swaps and deletions of words.

Every edit is a pure function of the text and of numbers that were drawn.

References:
  Wei and Zou, EDA: Easy Data Augmentation Techniques for Boosting Performance
  on Text Classification Tasks, 2019.
  Fini et al., Improved baselines for vision-language pre-training, 2023.
"""

import dataclasses
import functools
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hyperclip_jax.data.feed import treebank
from hyperclip_jax.data.feed.stop_words import ENGLISH
from hyperclip_jax.data.feed.tokenizer import clean
from hyperclip_jax.data.feed.wordnet import WordNet
from hyperclip_jax.sections import Section, choice, number, switch

STOP_WORDS = {"snowball_174": ENGLISH}
DELETED = 0.1  # probability that a word is lost in `delete`
TRIES = 3  # draws of the second word of a swap

Synonyms = Callable[[str], Sequence[str]]
Draw = Callable[[], float]  # a uniform number in [0, 1)


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options of `Edits`.

  Attributes:
    clean: whether to clean captions first, as the tokenizer does.
    stop_words: probability to drop the stop words of a text.
    stop_list: name of the list of stop words, and its size.
    synonym: weight of replacing a word by a synonym, in strong texts.
    swap: weight of swapping two words.
    delete: weight of deleting words.
    keep: weight of no operation.
    wordnet: folder of WordNet's database files, for synonyms.
  """

  clean: bool = switch(False, training=True)
  stop_words: float = number(0.8, least=0, most=1, training=True)
  stop_list: str = choice("snowball_174", STOP_WORDS, training=True)
  synonym: float = number(0.0, least=0, training=True)
  swap: float = number(0.4, least=0, training=True)
  delete: float = number(0.2, least=0, training=True)
  keep: float = number(0.0, least=0, training=True)
  wordnet: str = dataclasses.field(default="", metadata={"training": True})

  def problems(self):
    if self.synonym and not self.wordnet:
      yield (
        "wordnet must be the folder of WordNet's files where synonym is not 0 "
        "(/usr/share/wordnet of Debian's wordnet-base), found ''"
      )


class Edits:
  """Edits of weak and strong texts, by options; thread-safe."""

  def __init__(self, options: Options):
    """Reads WordNet if synonyms are wanted.

    Args:
      options: probabilities and weights.

    Raises:
      FileNotFoundError: there is no WordNet.
      ValueError: its files are damaged.
    """
    self._options = options
    self._stop_words = STOP_WORDS[options.stop_list]
    self._synonyms: Synonyms = (
      _wordnet(options.wordnet).synonyms if options.synonym else _no_synonyms
    )
    weights = (options.synonym, options.swap, options.delete, options.keep)
    total = sum(weights) or 1.0
    self._until = [sum(weights[: i + 1]) / total for i in range(3)]

  def weak(self, text: str, seed: float) -> str:
    """Edits a text weakly: maybe drops its stop words.

    Args:
      text: caption.
      seed: number in [0, 1) that determines all draws.

    Returns:
      Edited text; never empty where the caption is not.
    """
    return self._weak(text, _draws(seed))

  def strong(self, text: str, seed: float) -> str:
    """Edits a text strongly: as `weak`, then by one operation.

    Args:
      text: caption.
      seed: number in [0, 1) that determines all draws.

    Returns:
      Edited text; never empty where the caption is not.
    """
    draw = _draws(seed)
    text = self._weak(text, draw)
    which = draw()
    synonym, swapped, deleted = self._until
    if which < synonym:
      return random_synonym(text, self._stop_words, self._synonyms, draw)
    if which < swapped:
      return random_swap(text, draw)
    return random_deletion(text, draw) if which < deleted else text

  def _weak(self, text: str, draw: Draw) -> str:
    if self._options.clean:
      text = clean(text) or text
    if draw() < self._options.stop_words:
      text = without_stop_words(text, self._stop_words)
    return text


def without_stop_words(text: str, stop_words: Collection[str]) -> str:
  """Drops stop words, in any case; a text of nothing else stays.

  Args:
    text: caption, which is split into Treebank words.
    stop_words: words in lower case.

  Returns:
    The other words, joined by single spaces.

  Examples:
    >>> without_stop_words("the cat isn't on the mat", {"the", "is", "on"})
    "cat n't mat"
  """
  kept = [w for w in treebank.words(text) if w.lower() not in stop_words]
  return " ".join(kept) or text


def synonym(
  text: str, order: Sequence[str], pick: float, synonyms: Synonyms
) -> str:
  """Replaces the first word that has a synonym, wherever it occurs.

  Args:
    text: caption, which is split at white space.
    order: words to try.
    pick: number in [0, 1) that chooses among the synonyms.
    synonyms: word -> its synonyms.

  Returns:
    Edited text, or the text itself if no word has a synonym.
  """
  for word in order:
    found = synonyms(word)
    if found:
      new = found[int(pick * len(found))]
      return _joined((new if w == word else w for w in text.split()), text)
  return text


def swap(text: str, first: int, others: Sequence[int]) -> str:
  """Swaps a word with the first of others that is not itself.

  Args:
    text: caption, which is split at white space.
    first: index of a word.
    others: indices to try, of which `TRIES` count.

  Returns:
    Edited text, or the text itself if all others are the word itself.
  """
  words = text.split()
  other = next((i for i in others[:TRIES] if i != first), first)
  if other == first:
    return text
  words[first], words[other] = words[other], words[first]
  return _joined(words, text)


def delete(text: str, numbers: Sequence[float], survivor: float) -> str:
  """Keeps each word whose number is above 0.1.

  Args:
    text: caption, which is split at white space.
    numbers: one number in [0, 1) for each word.
    survivor: number in [0, 1) that chooses the word to keep if none is left.

  Returns:
    Edited text; a text of one word stays.
  """
  words = text.split()
  if len(words) < 2:
    return text
  kept = [w for w, u in zip(words, numbers, strict=True) if u > DELETED]
  return _joined(kept or [words[int(survivor * len(words))]], text)


def random_synonym(
  text: str, stop_words: Collection[str], synonyms: Synonyms, draw: Draw
) -> str:
  """Applies `synonym` to the words that are not stop words, in random order.

  Args:
    text: caption.
    stop_words: words not to replace, in their very case.
    synonyms: word -> its synonyms.
    draw: draws uniform numbers.

  Returns:
    Edited text.
  """
  left = [w for w in dict.fromkeys(text.split()) if w not in stop_words]
  order = []
  while left and not (order and synonyms(order[-1])):
    order.append(left.pop(int(draw() * len(left))))
  return synonym(text, order[-1:], draw(), synonyms)


def random_swap(text: str, draw: Draw) -> str:
  """Applies `swap` to two random words.

  Args:
    text: caption.
    draw: function that draws a uniform number.

  Returns:
    Edited text.
  """
  count = len(text.split())
  if count < 2:
    return text
  first, *others = (int(draw() * count) for _ in range(1 + TRIES))
  return swap(text, first, others)


def random_deletion(text: str, draw: Draw) -> str:
  """Applies `delete` with random numbers.

  Args:
    text: caption.
    draw: function that draws a uniform number.

  Returns:
    Edited text.
  """
  numbers = [draw() for _ in text.split()]
  return delete(text, numbers, draw())


def _draws(seed: float) -> Draw:
  return random.Random(int(seed * 2**53)).random


@functools.lru_cache(maxsize=1)
def _wordnet(folder: str) -> WordNet:
  return WordNet(folder)


def _no_synonyms(word: str) -> Sequence[str]:
  del word
  return ()


def _joined(words: Any, text: str) -> str:
  return " ".join(" ".join(words).split()) or text
