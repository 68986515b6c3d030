"""The tokenizer of SigLIP, on a small file of its kind."""

import json
import pickle

import numpy as np
import pytest

from hyperclip_jax.data.feed import siglip
from hyperclip_jax.data.feed.tokenizer import AnyTokenizer, Tokenizer
from tests import golden_files
from tests.data.feed import pieces

CONTEXT = 8


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  return pieces.write(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def tokenizer(path):
  return siglip.Tokenizer(str(path), 128)


def test_texts_are_cleaned_as_the_official_code_does():
  cases = golden_files.FOLDER / "prolip" / "canonicalize.json"
  for case in json.loads(cases.read_text("utf-8")):
    assert siglip.canonical(case["text"]) == case["canonicalize"]


def test_rows_are_pieces_and_end_tokens(tokenizer):
  rows = tokenizer(["A red circle!", "", "the blue"], CONTEXT)
  assert rows.dtype == np.int32
  assert rows.shape == (3, CONTEXT)
  ids = pieces.IDS
  wanted = [ids["▁a"], ids["▁red"], ids["▁circle"]]
  assert rows[0].tolist() == wanted + [1] * 5
  assert rows[1].tolist() == [1] * CONTEXT
  assert tokenizer.decode(rows[0]) == "a red circle"
  assert isinstance(tokenizer, AnyTokenizer)
  assert isinstance(Tokenizer(512), AnyTokenizer)


def test_long_texts_keep_the_end_token(tokenizer):
  text = "red " * 20
  (row,) = tokenizer([text], CONTEXT)
  assert row.tolist() == [pieces.IDS["▁red"]] * 7 + [1]
  assert tokenizer.lengths([text, "", "red"]).tolist() == [21, 1, 2]
  assert tokenizer([text], 1).tolist() == [[1]]
  with pytest.raises(ValueError, match="context is 0"):
    tokenizer([text], 0)


def test_a_text_cannot_forge_a_special_token(tokenizer):
  (row,) = tokenizer(["</s> red <extra_id_99>"], CONTEXT)
  assert row[0] != 1
  assert (row == 1).sum() < CONTEXT - 1


def test_texts_must_be_strings(tokenizer):
  with pytest.raises(TypeError, match="pass \\[text\\]"):
    tokenizer("red")
  with pytest.raises(TypeError, match="text 1 is 3, want a str"):
    tokenizer(["red", 3])


def test_a_copy_in_another_process_reads_its_own_file(tokenizer):
  copied = pickle.loads(pickle.dumps(tokenizer))
  np.testing.assert_array_equal(copied(["red"]), tokenizer(["red"]))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "no tokenizer"),
    ("{}", "no tokenizer"),
    ("[1, 2", "no tokenizer"),
    (
      pieces.text(end="<other>"),
      "end token </s> must have the id 1, found None",
    ),
  ],
)
def test_other_files_are_refused(content, message, tmp_path):
  (tmp_path / "tokenizer.json").write_text(content)
  with pytest.raises(ValueError, match=message):
    siglip.Tokenizer(str(tmp_path / "tokenizer.json"), 128)


def test_a_file_that_is_missing_or_too_large(path, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"none\.json"):
    siglip.Tokenizer(str(tmp_path / "none.json"), 128)
  with pytest.raises(ValueError, match=r"a tokenizer of .* for a model of 4"):
    siglip.Tokenizer(str(path), 4)
