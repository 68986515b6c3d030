import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperclip_jax.data.records import texts

TEXT = st.text(st.characters() | st.sampled_from(" \t\n\x00\ud800é"))


@given(TEXT)
def test_normalised_text_is_clean_and_stays_as_it_is(text):
  found = texts.normalise(text)
  assert found == " ".join(found.split())
  assert not any(ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in found)
  assert texts.normalise(found) == found
  found.encode()


@pytest.mark.parametrize(
  ("text", "want"),
  [
    (" a\tred\r\n\u00a0ball\u2003", "a red ball"),
    ("cafe\u0301", "caf\u00e9"),
    ("a\x00b\x9fc", "a b c"),
    ("half \ud83d pair", "half pair"),
    ("\x7f \x01", ""),
    ("家族 👨‍👩‍👧", "家族 👨‍👩‍👧"),  # joiners are no control characters
  ],
)
def test_normalise(text, want):
  assert texts.normalise(text) == want


def test_long_text_is_cut_where_there_is_text():
  assert texts.normalise(" " * 100_000 + "a" * 100_000) == "a" * 8192
  assert texts.normalise("b " * 100_000) == ("b " * 4096).strip()
  # Each becomes three characters.
  assert len(texts.normalise("\U0001d160" * 8000)) == 8192


@given(st.text(max_size=5), st.floats(), st.floats())
def test_span_is_a_slice_or_nothing(text, start, end):
  found = texts.span(text, start, end)
  if found is None:
    assert not 0 <= start < end <= len(text)
  else:
    assert found == text[int(start) : int(end)]
