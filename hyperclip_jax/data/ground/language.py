"""Recognises captions that are not in English, which a parser would garble."""

import functools
import re
import unicodedata

from hyperclip_jax.data.feed.stop_words import ENGLISH

# Frequent words of a language that are hardly ever English.
_FOREIGN = {
  "German": "der das dem den des und ist mit auf ein eine einem einen einer im "
  "vom von für zu zum zur nicht bei aus nach über sich wird auch",
  "Spanish": "el los las y una uno del al por para con su que en de la es se "
  "como más",
  "French": "le les et une des du de la dans avec sur pour est au aux un en "
  "qui que ce cette",
  "Italian": "il lo gli di una uno del della dei delle con per nel nella sul "
  "sulla che è e la le da un",
  "Portuguese": "os um uma em da das dos com para por que na nas nos ao de e é",
  "Dutch": "het een van op met en voor zijn naar aan bij uit de",
  "Swedish": "och en ett på med av som för är till från",
  "Danish": "og på et med af til en er som fra ved",
  "Polish": "w z na się jest i do od przez dla oraz nad pod",
  "Czech": "na se je s v z pro u ve",
  "Turkish": "ve bir bu ile için da de olan",
}
_WORDS = tuple(frozenset(text.split()) - ENGLISH for text in _FOREIGN.values())
_WORD = re.compile(r"[^\W\d_]+")
_LEAST = 2  # foreign words that count as evidence


def is_english(caption: str) -> bool:
  """Checks whether a caption may be English.

  Most letters must be Latin, and no other language may have more of the
  caption's words among its most frequent than English has. Two such words are
  needed, so a short caption or one of names passes.

  Args:
    caption: any text.

  Returns:
    False if there is evidence of another language.
  """
  words = set(_WORD.findall(caption.lower()))
  letters = "".join(words)
  if 2 * sum(map(_is_latin, letters)) < len(letters):
    return False
  most = max(len(words & foreign) for foreign in _WORDS)
  return most < _LEAST or most <= len(words & ENGLISH)


@functools.lru_cache(maxsize=4096)
def _is_latin(letter: str) -> bool:
  return unicodedata.name(letter, "").startswith("LATIN")
