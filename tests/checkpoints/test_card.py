"""Model cards: what they tell, and what they keep to themselves."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.checkpoints import card
from tests import golden_files


@pytest.fixture(scope="module")
def model():
  return HyperCLIP(*golden_files.model("hycoclip"))


def header(text):
  _, front, body = text.split("---\n", 2)
  return yaml.safe_load(front), body


def test_a_card_tells_what_the_model_is(model, tmp_path):
  model.save_pretrained(tmp_path / "my model", "apache-2.0", "GRIT, <b>20M</b>")
  front, body = header((tmp_path / "my model" / "README.md").read_text())
  assert front["license"] == "apache-2.0"
  assert front["library_name"] == "hyperclip-jax"
  assert front["pipeline_tag"] == "zero-shot-image-classification"
  assert "hycoclip" in front["tags"]
  assert f"| parameters | {model.size:,} |" in body
  assert "32 x 32 pixels" in body
  assert "GRIT, \\<b\\>20M" in body
  assert 'load("my-model")' in body
  code = body.split("```python\n")[1].split("```")[0]
  compile(code, "card", "exec")


def test_a_card_without_facts_says_so(model, tmp_path):
  model.save_pretrained(tmp_path)
  front, body = header((tmp_path / "README.md").read_text())
  assert "license" not in front
  assert body.count("Not stated.") == 2


def test_a_card_that_someone_wrote_is_kept(model, tmp_path):
  (tmp_path / "README.md").write_text("mine")
  model.save_pretrained(tmp_path)
  assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("licence", ["MIT licence", "a\nb", "x: y", "-"])
def test_a_licence_is_an_identifier(model, tmp_path, licence):
  with pytest.raises(ValueError, match="want an identifier of the hub"):
    model.save_pretrained(tmp_path, licence)
  assert not [*tmp_path.iterdir()]


def test_a_run_tells_its_data_and_results_but_not_its_folders(tmp_path):
  config = {
    "steps": 800,
    "batch_size": 128,
    "data": {"shards": "/home/me/grit/*.tar,/data/more.tar"},
  }
  results = {
    "eval/zero_shot/top1": 0.655,
    "eval/root_distance/image_p5": 1.0,
    "eval/zero_shot/top1_se": 0.01,
    "eval/zero_shot/top1_chance": 0.001,
    "eval/zero_shot/images": 849.0,
    "note": "text",
  }
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "results.json").write_text(json.dumps(results))
  about = card.of_run(tmp_path)
  assert about.data == (
    "shards grit/*.tar, data/more.tar; 800 steps of 128 examples."
  )
  assert about.numbers == {"zero_shot/top1": 0.655}
  text = card.card("a", "CLIP", {"system": "clip"}, about)
  assert "| zero\\_shot/top1 | 0.655 |" in text


@pytest.mark.parametrize("content", ["", "[]", "{", '{"shapes": 3, "data": 4}'])
def test_a_damaged_run_tells_nothing(tmp_path, content):
  for name in ("config.json", "results.json"):
    (tmp_path / name).write_text(content)
  assert card.of_run(tmp_path) == card.NOTHING


def test_a_copy_of_a_release_tells_what_the_release_told(model, tmp_path):
  data = "Scenes_of [two] vendors (*both* seen) | <b>; 7 steps of 2 examples."
  model.save_pretrained(tmp_path / "first", "cc-by-4.0", data)
  again = hyperclip_jax.load(tmp_path / "first")
  assert again.about == card.About(data, {}, "cc-by-4.0")
  again.save_pretrained(tmp_path / "second")
  texts = [
    (tmp_path / f / "README.md").read_text() for f in ("first", "second")
  ]
  assert texts[1] == texts[0].replace('load("first")', 'load("second")')


@given(
  st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=60),
  st.dictionaries(
    st.from_regex(r"[a-z_/0-9]{1,20}", fullmatch=True),
    st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.4g}")),
  ),
)
def test_a_card_is_read_as_it_was_written(tmp_path_factory, data, numbers):
  folder = tmp_path_factory.mktemp("card")
  about = card.About(data.strip(), numbers, "mit")
  text = card.card("a", "CLIP", {"system": "clip"}, about)
  (folder / card.CARD).write_text(text, "utf-8")
  assert card.of_release(folder) == about


@given(st.text())
def test_another_readme_is_no_error(tmp_path_factory, text):
  folder = tmp_path_factory.mktemp("card")
  (folder / card.CARD).write_text(text, "utf-8")
  found = card.of_release(folder)
  card.check(found)
  (folder / card.CARD).write_bytes(b"\xff")
  assert card.of_release(folder) == card.NOTHING
