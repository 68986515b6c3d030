"""Captions and phrases: one form of a text, and a stretch of one."""

import re
import unicodedata

MAX_TEXT = 8192  # characters of a caption or phrase that are kept
MAX_TEXT_BYTES = 1 << 20  # of a member that holds texts

# Control characters, and halves of surrogate pairs, which UTF-8 cannot hold.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def normalise(text: str) -> str:
  """NFC, control characters to spaces, white space collapsed, at most 8192.

  Character offsets into a text hold for the text as found: slice first.
  """
  # Cut before NFC, which takes quadratic time over a run of combining marks.
  text = " ".join(_CONTROL.sub(" ", text).split())[:MAX_TEXT]
  return unicodedata.normalize("NFC", text)[:MAX_TEXT].strip()


def span(text: str, start: float, end: float) -> str | None:
  """The characters from start to end; None where these leave the text."""
  if not 0 <= start < end <= len(text):  # False for NaN, too
    return None
  return text[int(start) : int(end)]
