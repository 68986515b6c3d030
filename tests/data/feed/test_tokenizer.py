import hashlib
import html
import itertools
import json
import pathlib
import pickle
import string
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.feed import tokenizer

GOLDEN = json.loads(
  (pathlib.Path(__file__).parents[2] / "golden/clip_tokens.json").read_text()
)
SPECIAL = (tokenizer.START, tokenizer.END)
TOKENIZER = tokenizer.Tokenizer()
# Scraped captions come with broken surrogate pairs, so those are text too.
ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]))


def words(row):
  """The ids between start and end."""
  return row[1 : row.tolist().index(TOKENIZER.end)].tolist()


# The one wanted difference has tests of its own.
FORGED = [case for case in GOLDEN if tokenizer.END in case["text"]]


@pytest.mark.parametrize("case", [c for c in GOLDEN if c not in FORGED])
def test_golden(case):
  ids = np.array(case["ids"], np.int32)
  whole = TOKENIZER([case["text"]], 200)[0]
  np.testing.assert_array_equal(whole[: len(ids)], ids)
  assert not whole[len(ids) :].any()
  cut = TOKENIZER([case["text"]])[0]
  kept = min(len(ids), 77)
  np.testing.assert_array_equal(cut[: kept - 1], ids[: kept - 1])
  assert cut[kept - 1] == TOKENIZER.end
  assert not cut[kept:].any()


def test_golden_covers_truncation_and_one_difference():
  assert any(len(case["ids"]) > 77 for case in GOLDEN)
  assert len(FORGED) == 1


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("spelling", ["{}", "a {} b", "&lt;{}", "{}{}"])
def test_caption_cannot_forge_special_tokens(special, spelling):
  row = TOKENIZER([spelling.format(special, special.upper())])[0]
  inner = words(row)
  assert len(inner) >= 4
  assert max(inner) < TOKENIZER.start
  assert "oftext" in TOKENIZER.decode(row)


def test_size_and_special_ids():
  assert TOKENIZER.vocab_size == 49_408
  assert (TOKENIZER.start, TOKENIZER.end) == (49_406, 49_407)
  assert TOKENIZER._bpe.get_vocab_size() == 49_408


@settings(deadline=None)
@given(
  st.lists(ANY_TEXT | st.sampled_from(SPECIAL), max_size=4),
  st.integers(2, 90),
)
def test_rows_are_well_formed(texts, context):
  rows = TOKENIZER(texts, context)
  assert rows.shape == (len(texts), context)
  assert rows.dtype == np.int32
  for row in rows:
    assert row[0] == TOKENIZER.start
    assert (row == TOKENIZER.end).sum() == 1
    assert row.argmax() == row.tolist().index(TOKENIZER.end)
    inner = words(row)
    assert all(0 <= i < TOKENIZER.start for i in inner)
    assert not row[len(inner) + 2 :].any()


@settings(deadline=None)
@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_rows_do_not_depend_on_the_batch(texts):
  alone = np.concatenate([TOKENIZER([text]) for text in texts])
  np.testing.assert_array_equal(TOKENIZER(texts), alone)


@settings(deadline=None)
@given(ANY_TEXT, st.integers(2, 40))
def test_short_context_is_a_prefix(text, context):
  long, short = TOKENIZER([text], 200)[0], TOKENIZER([text], context)[0]
  np.testing.assert_array_equal(words(short), words(long)[: context - 2])


@given(
  st.lists(
    st.text(string.ascii_lowercase, min_size=1, max_size=8), max_size=8
  ).map(" ".join)
)
def test_decode_inverts(text):
  assert TOKENIZER.decode(TOKENIZER([text])[0]) == text


def test_decode_reads_bytes_and_stops_at_the_end():
  row = TOKENIZER(["Łódź, 你好 !"])[0]
  assert TOKENIZER.decode(row) == "łódź , 你好 !"
  assert TOKENIZER.decode(row.tolist()) == "łódź , 你好 !"
  assert TOKENIZER.decode(words(row)) == "łódź , 你好 !"
  # An id that is half a character must not raise.
  assert TOKENIZER.decode(words(TOKENIZER(["😀"])[0])[:1])


def cleaned_by_ftfy(text):
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return " ".join(text.split()).lower()


def test_clean_without_ftfy_is_exact_for_pairs_of_ascii():
  characters = [chr(i) for i in range(128)]
  for a, b in itertools.product(characters, repeat=2):
    assert tokenizer.clean(f"I{a}{b}T;") == cleaned_by_ftfy(f"I{a}{b}T;")


@settings(deadline=None, max_examples=300)
@given(
  st.lists(
    st.text(st.characters(max_codepoint=127))
    | st.sampled_from(
      ["&amp;", "&lt;p&gt;", "&#x27;", "\x1b[31m", "\r\n", "\x0b", "\x1c", "``"]
    )
  ).map("".join)
)
def test_clean_without_ftfy_is_exact_for_ascii(text):
  assert tokenizer.clean(text) == cleaned_by_ftfy(text)


@settings(deadline=None, max_examples=300)
@given(
  st.lists(
    st.sampled_from([*map(chr, range(32, 127)), "'s", "'re", " it's"]).filter(
      lambda piece: piece != "&"
    ),
    max_size=40,
  ).map("".join)
)
def test_ascii_is_split_as_any_other_text(text):
  (alone,), (before,) = TOKENIZER([text]), TOKENIZER([f"{text} é"])
  (accent,) = TOKENIZER(["é"])
  assert words(before) == [*words(alone), *words(accent)][:75]


def test_clean():
  dirty = " \u201cCafÃ©\u201d&amp;amp;\tBAR\r\n\x00\ufb01n "
  assert tokenizer.clean(dirty) == '"café"& bar fin'
  assert tokenizer.clean("") == ""


@pytest.mark.parametrize(
  "piece",
  ["x", "a dog ", "1", "é", "Ã©", "😀", "'", " ", "é\n", "&", "\x1b[1;", "İ"],
)
def test_huge_caption_is_quick(piece):
  huge = piece * (100_000 // len(piece))
  begin = time.thread_time()
  TOKENIZER([huge])
  assert time.thread_time() - begin < 1.0


def test_layers_of_escapes_are_quick():
  begin = time.thread_time()
  TOKENIZER(["&" + "amp;" * 25_000])
  assert time.thread_time() - begin < 5.0


def test_long_captions_are_cut_beyond_any_row():
  # The longest token is 32 letters, so the limit never shows in a row.
  longest = max(map(len, TOKENIZER._bpe.get_vocab()))
  assert 77 * (longest + 1) < tokenizer.MAX_CHARACTERS
  text = "a photo of a dog " * 1000
  limited = TOKENIZER([text[: tokenizer.MAX_CHARACTERS]])
  np.testing.assert_array_equal(TOKENIZER([text]), limited)


def test_long_words_are_not_kept():
  word = "ab" * 4000
  TOKENIZER([word])
  kept = tokenizer._kept_ids.cache_info().currsize
  first, second = TOKENIZER([f"x{word}", f"y{word}"])
  assert tokenizer._kept_ids.cache_info().currsize == kept
  assert words(first) != words(second)


def test_threads_agree():
  texts = [f"{i} wörds in a caption of many threads" for i in range(400)]
  want = TOKENIZER(texts)
  with ThreadPoolExecutor(8) as pool:
    for got in pool.map(lambda _: tokenizer.Tokenizer()(texts), range(16)):
      np.testing.assert_array_equal(got, want)


def test_pickle_is_small_and_equal():
  packed = pickle.dumps(TOKENIZER)
  assert len(packed) < 200
  twin = pickle.loads(packed)
  np.testing.assert_array_equal(twin(["a cat"]), TOKENIZER(["a cat"]))


def test_second_tokenizer_shares_the_first():
  assert tokenizer.Tokenizer()._bpe is TOKENIZER._bpe


@pytest.mark.parametrize("size", [514, 4_096, 49_408])
@given(text=ANY_TEXT)
def test_any_vocabulary_keeps_every_text(size, text):
  small = tokenizer.Tokenizer(size)
  (row,) = small([text], 2_000)
  words = row[1 : row.argmax()]
  assert (words < small.start).all()
  assert small.decode(row) == TOKENIZER.decode(TOKENIZER([text], 2_000)[0])


def test_smaller_vocabulary_splits_rare_words_and_keeps_common_ones():
  small = tokenizer.Tokenizer(4_096)
  common, rare = "a photo of a dog", ["hedgehog", "otter", "walrus"]
  (row,), (whole,) = small([common], 8), TOKENIZER([common], 8)
  np.testing.assert_array_equal(row[1:6], whole[1:6])
  assert len(np.unique(small(rare, 16), axis=0)) == 3
  assert (small.lengths(rare) > TOKENIZER.lengths(rare)).any()


def test_smallest_vocabularies_take_rare_bytes_for_one():
  small = tokenizer.Tokenizer(100)
  (row,), (whole,) = small(["a~é"], 9), tokenizer.Tokenizer(514)(["a~é"], 9)
  assert (row[0], row.max()) == (98, 99)
  np.testing.assert_array_equal(row[1:5], np.minimum(whole[1:5], 97))
  assert pickle.loads(pickle.dumps(small)).end == 99
  for size in (3, 49_409):
    with pytest.raises(ValueError, match=f"vocabulary of {size}"):
      tokenizer.Tokenizer(size)


def test_misuse_is_named():
  with pytest.raises(TypeError, match=r"pass \[text\]"):
    TOKENIZER("a bare string")
  with pytest.raises(ValueError, match="context is 1"):
    TOKENIZER(["a"], 1)
  assert TOKENIZER([]).shape == (0, 77)


def test_merges_are_the_published_file():
  folder = resources.files("hyperclip_jax.data.feed") / "assets"
  packed = (folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
  digest = hashlib.sha256(packed).hexdigest()
  assert len(packed) == 1_356_917
  assert digest.startswith("924691ac")
  notice = (folder / "NOTICE").read_text()
  assert digest in notice
  assert "Copyright (c) 2021 OpenAI" in notice


def test_rows_are_cut_to_the_shortest_length_that_holds_them():
  rows = np.zeros((2, 77), np.int32)
  rows[0, 8] = rows[1, 15] = TOKENIZER.end
  assert tokenizer.cut(rows[:1], (8, 16, 32, 77)).shape == (1, 16)
  assert tokenizer.cut(rows, (8, 16, 32, 77)).shape == (2, 16)
  rows[1, 15:17] = [0, TOKENIZER.end]
  assert tokenizer.cut(rows, (8, 16, 32, 77)).shape == (2, 32)


def test_the_token_of_an_exclamation_mark_is_no_padding():
  row = TOKENIZER(["wow !✓ yes"])  # "!" within a word is token 0
  length = int(row[0].argmax()) + 1
  assert (row[0, :length] == 0).any()
  assert tokenizer.cut(row, (length - 1, length, 77))[0, -1] == TOKENIZER.end


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    (None, "None"),
    (float("nan"), "nan"),
    (b"a dog", "b'a dog'"),
    (["a dog"], r"\['a dog'\]"),
    (7, "7"),
  ],
)
def test_what_is_no_text_is_named(text, shown):
  with pytest.raises(TypeError, match=rf"text 1 is {shown}, want a str"):
    TOKENIZER(["a cat", text])
  with pytest.raises(TypeError, match=rf"text 1 is {shown}, want a str"):
    TOKENIZER.lengths(["a cat", text])


def test_any_iterable_of_texts_is_taken():
  wanted = TOKENIZER(["a cat", "a dog"])
  for texts in (
    ("a cat", "a dog"),
    {"a cat": 1, "a dog": 2}.keys(),
    (text for text in ("a cat", "a dog")),
    np.array(["a cat", "a dog"]),
  ):
    np.testing.assert_array_equal(TOKENIZER(texts), wanted)
  assert TOKENIZER([]).shape == (0, 77)


def test_lengths_tell_which_texts_are_cut():
  texts = ["", "a cat", "a " * 6, "a " * 7]
  assert TOKENIZER.lengths(texts).tolist() == [2, 4, 8, 9]
  rows = TOKENIZER(texts, 8)
  assert (rows.argmax(axis=1) + 1).tolist() == [2, 4, 8, 8]
