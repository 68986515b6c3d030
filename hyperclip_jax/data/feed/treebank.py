"""Words of a sentence as the Penn Treebank splits them.

Punctuation and quotes are words of their own, and contractions two: "don't" is
"do" and "n't".

References:
  MacIntyre, Treebank tokenization, 1995; Bird et al., NLTK, 2009, whose
  word tokenizer adds the quotes of Unicode.
"""

import re

_SPACED = r" \g<0> "
_OPENING = (  # quotes, before any other rule separates them
  (r"[«“‘„]|`+", _SPACED),
  (r'^"', " `` "),
  (r"``", _SPACED),
  (r"""([ (\[{<])(?:"|'')""", r"\1 `` "),
  (r"(?i)'(?!re|ve|ll|m|t|s|d|n)(\w)\b", r"' \1"),
)
# Rule -> characters of which it needs one. A comma or colon in a number is part
# of it.
_PUNCTUATION = {
  (r"""([^.])(\.)([\])}>"'»”’ ]*)\s*$""", r"\1 \2 \3 "): ".",
  (r"([:,])([^\d])", r" \1 \2"): ":,",
  (r"[:,]$", _SPACED): ":,",
  (r"\.{2,}", _SPACED): ".",
  (r"[;@#$%&?!*]", _SPACED): ";@#$%&?!*",
  (r"([^'])' ", r"\1 ' "): "'",
  (r"[\]\[(){}<>]", _SPACED): "[](){}<>",
  (r"--", _SPACED): "-",
}
_CLOSING = (
  (r"^|$", " "),
  (r"[»”’]", _SPACED),
  (r"''", _SPACED),
  (r'"', " '' "),
  (r"\s+", " "),
  (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
  (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
  (r"(?i)\b(can)(not)\b", r" \1 \2 "),
  (r"(?i)\b(d)('ye)\b", r" \1 \2 "),
  (r"(?i)\b(gim|lem)(me)\b", r" \1 \2 "),
  (r"(?i)\b(gon)(na)\b", r" \1 \2 "),
  (r"(?i)\b(got)(ta)\b", r" \1 \2 "),
  (r"(?i)\b(more)('n)\b", r" \1 \2 "),
  (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 "),
  (r"(?i) ('t)(is|was)\b", r" \1 \2 "),
)
_QUOTES = frozenset("'\"`«»“”‘’„")
_RULES = [
  (re.compile(pattern), into)
  for pattern, into in (*_OPENING, *_PUNCTUATION, *_CLOSING)
]
_BY_CHARACTER = [
  (re.compile(pattern), into, frozenset(needed))
  for (pattern, into), needed in _PUNCTUATION.items()
]
# Most captions have nothing to split but white space.
_PLAIN = re.compile(r"(?:\w|[^\S\n]|-(?!-))*")
_SLANG = re.compile(r"(?i)cannot|gimme|lemme|gonna|gotta|wanna")


def words(text: str) -> list[str]:
  """Splits a sentence into words.

  Args:
    text: one sentence, in any script.

  Returns:
    Its words, contractions and punctuation, in order.

  Examples:
    >>> words("I don't know (yet)!")
    ['I', 'do', "n't", 'know', '(', 'yet', ')', '!']
  """
  found = frozenset(text)
  if not found.isdisjoint(_QUOTES) or _SLANG.search(text):
    for pattern, into in _RULES:
      text = pattern.sub(into, text)
  elif not _PLAIN.fullmatch(text):
    for pattern, into, needed in _BY_CHARACTER:
      if not found.isdisjoint(needed):
        text = pattern.sub(into, text)
  return text.split()
