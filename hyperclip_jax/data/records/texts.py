"""Normalises captions and phrases."""

import re
import unicodedata

MAX_TEXT = 8192  # characters kept of a caption or phrase
MAX_TEXT_BYTES = 1 << 20  # limit on a member that holds texts

# Control characters, and halves of surrogate pairs, which UTF-8 cannot hold.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def normalise(text: str) -> str:
  """Normalises to NFC with single spaces, of at most 8192 characters.

  Control characters become spaces. Character offsets refer to a text as found,
  so slice before normalising.
  """
  # Cut first: NFC takes quadratic time on a run of combining marks.
  text = " ".join(printable(text).split())[:MAX_TEXT]
  return unicodedata.normalize("NFC", text)[:MAX_TEXT].strip()


def printable(text: str) -> str:
  """Replaces each control character, or half a surrogate pair, by a space.

  No character moves, so offsets stay valid.
  """
  return _CONTROL.sub(" ", text)


def span(text: str, start: float, end: float) -> str | None:
  """Returns the characters of a text from start to end.

  Args:
    text: text as found.
    start: first character.
    end: character after the last.

  Returns:
    The substring, or None if the range is empty or leaves the text.
  """
  if not 0 <= start < end <= len(text):  # False for NaN, too
    return None
  return text[int(start) : int(end)]
