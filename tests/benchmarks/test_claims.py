"""The comparisons that test what the papers claim: their arms and tables."""

import argparse
import json

import pytest

from benchmarks import prolip, rocket, systems
from hyperclip_jax.training import config as config_lib
from tests import small


@pytest.fixture
def flags(tmp_path):
  return argparse.Namespace(
    output=tmp_path, steps=512, wordnet="/words", set=[]
  )


@pytest.mark.parametrize("arm", rocket.ARMS)
def test_an_arm_changes_what_its_name_says(arm, flags):
  config = rocket.config_of(arm, 1, flags)
  config_lib.validate(config, 1)
  model, (variant, _, change) = config.model, arm.partition("-")
  assert (model.variant, config.seed) == (variant, 1)
  colours = model.strong.distortions
  pictures = [colours.jitter > 0, colours.blur > 0]
  pictures.append(model.strong.crop_scale != config.data.crop_scale)
  edits = model.edits
  texts = [x > 0 for x in (edits.stop_words, edits.swap, edits.synonym)]
  assert {*pictures} == {change in ("image", "both")}
  assert {*texts} == {change in ("text", "both")}


def test_tables_have_means_of_the_runs_that_are_done(flags, tmp_path):
  for arm, seed, top1 in (
    ("clip", 0, 0.2),
    ("clip", 1, 0.4),
    ("clip_rocket-both", 0, 0.5),
  ):
    folder = tmp_path / f"{arm}-{seed}"
    folder.mkdir()
    results = dict.fromkeys(rocket.ROWS, top1)
    content = json.dumps({"results": results})
    (folder / systems.RESULTS).write_text(content)
  lines = rocket.table(tmp_path).splitlines()
  assert lines[-2].startswith("| clip | 2 | 0.300 ± 0.141 |")
  assert lines[-1].startswith("| clip_rocket-both | 1 | 0.500 |")


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_prompts_of_a_trained_run_are_measured(flags, tmp_path, monkeypatch):
  """Few-shot re-weighting takes five images a class, so ten objects each."""
  monkeypatch.setattr(prolip, "PROMPTS", prolip.PROMPTS[:2])

  def config(seed, flags):
    made = small.config("prolip", 2)
    made.seed = seed
    return made

  monkeypatch.setattr(prolip, "config_of", config)
  prolip.main([f"--output={tmp_path}", "--seeds", "0"])
  page = (tmp_path / "prolip.md").read_text()
  for row in ("uncertainty/words_corr", "includes/parent_child", "zero_shot/"):
    assert row in page
  assert "prompts/all_top1" in page
  assert "prompts/lowest_half_top1" in page
  monkeypatch.setattr(systems.train, "train", pytest.fail)
  prolip.main([f"--output={tmp_path}", "--seeds", "0"])
  assert (tmp_path / "prolip.md").read_text() == page
