"""Edits of captions against the published code's, and what always holds."""

import json

import hypothesis
import hypothesis.strategies as st
import pytest

from hyperclip_jax.data.feed import stop_words, text_edits, treebank
from hyperclip_jax.data.feed.text_edits import Edits, Options
from hyperclip_jax.data.feed.wordnet import WordNet
from hyperclip_jax.sections import SectionError
from tests import golden_rocket

GOLDEN = json.loads((golden_rocket.FOLDER / "text_aug.json").read_text("utf-8"))
STOPPED = {
  token.lower()
  for row in GOLDEN["stop_words"]
  for token in row["tokens"]
  if token not in row["kept"]
}
texts = st.text(
  st.sampled_from("ab '\"-,.()é0\n_") | st.characters(), max_size=40
)
seeds = st.floats(0, 1, exclude_max=True)
quick = hypothesis.settings(
  max_examples=200, deadline=None, database=None, derandomize=True
)


def one_spaced(text):
  return " ".join(text.split())


def at(index, count):
  """A number in [0, 1) that chooses an index."""
  return (index + 0.5) / count


@pytest.mark.parametrize("row", GOLDEN["stop_words"], ids=lambda r: r["text"])
def test_words_and_stop_words_equal_official(row):
  text = row["text"]
  assert treebank.words(text) == row["tokens"]
  for pattern, into in treebank._RULES:  # the rules alone, without a shortcut
    text = pattern.sub(into, text)
  assert text.split() == row["tokens"]
  found = text_edits.without_stop_words(row["text"], STOPPED)
  assert found == (row["removed_text"] or row["text"])


@pytest.mark.parametrize("row", GOLDEN["weak"], ids=str)
def test_weak_texts_equal_official(row):
  if row["u_stop"] is None:
    assert row["out"] == row["text"] == ""
  elif row["u_stop"] < row["p"]:
    found = text_edits.without_stop_words(row["text"], STOPPED)
    assert found == row["out"]
  else:
    assert row["out"] == row["text"]


def swapped(row, text):
  return text_edits.swap(text, row["i"], row["j"])


def deleted(row, text, numbers):
  words = text.split()
  fallback = row.get("fallback_index")
  survivor = 0.0 if fallback is None else at(fallback, len(words))
  return text_edits.delete(text, numbers, survivor)


def replaced(row, text):
  def synonyms(word):
    return GOLDEN["synonyms"].get(word, [])

  first = next((w for w in row["order"] if synonyms(w)), "")
  index, count = row.get("synonym_index"), len(synonyms(first))
  pick = 0.0 if index is None else at(index, count)
  return text_edits.synonym(text, row["order"], pick, synonyms)


@pytest.mark.parametrize("row", GOLDEN["swap"], ids=str)
def test_swaps_equal_official(row):
  assert swapped(row, row["text"]) == row["out"]


@pytest.mark.parametrize("row", GOLDEN["deletion"], ids=str)
def test_deletions_equal_official(row):
  assert row["p"] == text_edits.DELETED
  assert deleted(row, row["text"], row["u"]) == row["out"]


@pytest.mark.parametrize("row", GOLDEN["synonym"], ids=str)
def test_synonyms_equal_official(row):
  """But for two spaces and nothing at all, which ours never gives."""
  wanted = one_spaced(row["out"]) or row["text"]
  assert replaced(row, row["text"]) == wanted


@pytest.mark.parametrize("row", GOLDEN["strong"], ids=str)
def test_strong_texts_equal_official(row):
  text = row["text"]
  if row["u_stop"] is not None and row["u_stop"] < row["p"]:
    text = text_edits.without_stop_words(text, STOPPED)
  assert text == row["after_stop"]
  if row["op"] == "synonym":
    text = replaced(row, text)
  elif row["op"] == "swap":
    text = swapped(row, text)
  elif row["op"] == "deletion":
    text = deleted(row, text, row["u"])
  assert text == (one_spaced(row["out"]) or row["after_stop"])


@quick
@hypothesis.given(text=texts, seed=seeds, clean=st.booleans())
def test_edits_are_functions_of_text_and_seed_and_never_empty(
  text, seed, clean
):
  edits = Edits(Options(clean=clean))
  for edit in (edits.weak, edits.strong):
    found = edit(text, seed)
    assert found == edit(text, seed)
    assert bool(found.strip()) == bool(text.strip())


# What the rules of the Treebank split.
split = st.lists(
  st.sampled_from(
    [*"ab '\"`«»“”‘’„.,:;@#$%&?!*()[]{}<>-\n\t1é漢", "n't", "cannot", "gimme"]
  )
  | st.sampled_from(
    ["wanna", "gonna ", "more'n", " 'tis", "--", "...", "'ll "]
  ),
  max_size=16,
).map("".join)


@quick
@hypothesis.given(text=texts, seed=seeds)
def test_a_swap_permutes_and_a_deletion_leaves_out(text, seed):
  words = text.split()
  moved = text_edits.random_swap(text, text_edits._draws(seed)).split()
  assert sorted(moved) == sorted(words)
  left = text_edits.random_deletion(text, text_edits._draws(seed)).split()
  rest = iter(words)
  assert all(word in rest for word in left)
  assert bool(left) == bool(words)


@quick
@hypothesis.given(text=texts | split)
def test_short_cuts_change_nothing(text):
  found = treebank.words(text)
  for pattern, into in treebank._RULES:
    text = pattern.sub(into, text)
  assert found == text.split()


def test_operations_have_their_weights():
  text = "one two three four five six seven eight nine ten"
  edits = Edits(Options(stop_words=0.0, swap=3.0, delete=0.0, keep=1.0))
  found = [edits.strong(text, i / 400) for i in range(400)]
  same = sum(one == text for one in found) / 400
  assert 0.2 < same < 0.32  # a quarter, and swaps of a word with itself


def test_the_list_of_stop_words_is_the_one_of_its_name():
  assert len(stop_words.ENGLISH) == 174
  assert all(name.endswith("174") for name in text_edits.STOP_WORDS)


# Three meanings in the format of WordNet's database: WordNet 3.0 Copyright 2006
# by Princeton University; see golden/clip_rocket/README.md.
LICENCE = "  1 This is the licence of the database.  \n"
SYNSETS = {
  "noun": [
    ("dog domestic_dog Canis_familiaris", "a member of the genus Canis"),
    ("frump dog", "a dull unattractive unpleasant girl or woman"),
    ("man adult_male", "an adult person who is male"),
  ],
  "verb": [("chase give_chase dog go_after", "go after with the intent")],
  "adj": [("asleep(p) at-rest", "in a state of sleep")],
  "adv": [("fast 2-fold", "quickly")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("wordnet")
  for kind, synsets in SYNSETS.items():
    data, offsets = LICENCE, {}
    for words, gloss in synsets:
      lemmas = words.split()
      for lemma in lemmas:
        key = lemma.lower().partition("(")[0]
        offsets.setdefault(key, []).append(len(data))
      pairs = " ".join(f"{lemma} 0" for lemma in lemmas)
      data += (
        f"{len(data):08d} 05 {kind[0]} {len(lemmas):02x} {pairs} 000 | {gloss}"
        "  \n"
      )
    (path / f"data.{kind}").write_text(data)
    rows = "".join(
      f"{lemma} {kind[0]} {len(at)} 0 {len(at)} 0 "
      f"{' '.join(f'{offset:08d}' for offset in at)}  \n"
      for lemma, at in sorted(offsets.items())
    )
    (path / f"index.{kind}").write_text(LICENCE + rows)
    exceptions = "men man\n" if kind == "noun" else ""
    (path / f"{kind}.exc").write_text(exceptions)
  return path


def test_synonyms_of_a_database(folder):
  found = WordNet(folder)
  dog = ("canis familiaris", "chase", "domestic dog", "frump", "give chase",
         "go after")  # fmt: skip
  assert found.synonyms("dog") == dog
  assert found.synonyms("dogs") == tuple(sorted({*dog, "dog"}))
  assert found.synonyms("Dog") == tuple(sorted({*dog, "dog"}))
  assert found.synonyms("men") == ("adult male", "man")
  assert found.synonyms("chased") == (
    "chase", "dog", "give chase", "go after",
  )  # fmt: skip
  assert found.synonyms("asleep") == ("at rest",)
  assert found.synonyms("fast") == ("fold",)
  assert found.synonyms("qwerty") == ()


def test_strong_texts_use_the_database(folder):
  edits = Edits(
    Options(
      stop_words=0.0, synonym=1.0, swap=0.0, delete=0.0, wordnet=str(folder)
    )
  )
  found = {edits.strong("a dog the dog", i / 100) for i in range(100)}
  assert found == {
    f"a {word} the {word}" for word in WordNet(folder).synonyms("dog")
  }


def test_a_missing_database_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"index.noun is missing.*Debian"):
    WordNet(tmp_path)
  with pytest.raises(SectionError, match="wordnet must be the folder"):
    Options(synonym=0.4)


def test_a_damaged_database_is_named(folder, tmp_path):
  for file in folder.iterdir():
    (tmp_path / file.name).write_bytes(file.read_bytes())
  (tmp_path / "index.verb").write_text("no index\n")
  with pytest.raises(ValueError, match=r"index.verb: no index of WordNet"):
    WordNet(tmp_path)
