"""The comparison of systems, in small, and that it resumes."""

import json

import jax
import pytest

from benchmarks import costs, systems
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build, config_tree, train
from hyperclip_jax.training import config as config_lib
from tests import small


@pytest.fixture
def command(tmp_path):
  """Two systems, one seed, two steps on the small data set."""
  (tmp_path / "shapes").symlink_to(small.shapes_folder())
  return [
    f"--output={tmp_path}",
    *("--systems", "hycoclip", "clip", "--seeds", "3"),
    *("--steps", "2", "--images", "32", "--set"),
    *("shapes.train=256", "shapes.val=48", "shapes.objects=96"),
    *("shapes.image_size=32", "data.canvas=32", "log_every=1"),
    *("model.image_size=24", "model.vision.depth=1", "model.text.depth=1"),
  ]


@pytest.mark.parametrize("data", ["shapes_tiny", "emoji_small"])
@pytest.mark.parametrize("system", costs.names())
def test_small_configs_take_every_system(data, system):
  config = config_tree.load(f"{data}:{system}")
  assert config_lib.options(config).embed_dim == 64


@pytest.mark.parametrize("data", ["shapes_tiny", "emoji_small"])
def test_small_configs_make_systems_of_one_size(data):
  sizes = {}
  for system in costs.names():
    encoder = build.encoder(config_tree.load(f"{data}:{system}"))
    params = variable_shapes(encoder)["params"]
    sizes[system] = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert max(sizes.values()) < 1.25 * sizes["clip"], sizes


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_two_systems_are_trained_measured_and_not_trained_again(
  command, tmp_path, monkeypatch, capsys
):
  systems.main(command)
  content = json.loads((tmp_path / "systems.json").read_text())
  both = content["systems"]
  assert list(both) == ["hycoclip", "clip"]
  # As many images a step: a record of HyCoCLIP has a box, too.
  assert [s["batch_size"] * s["images"] for s in both.values()] == [32, 32]
  assert both["hycoclip"]["batch_size"] == 16
  for found in both.values():
    run = found["runs"]["3"]
    assert 0 <= run["results"]["zero_shot/top1"] <= 1
    assert run["seconds"] is None or run["seconds"] > 0
    assert found["xla_flops"] > found["matmul_flops"] / 2 > 0
  page = (tmp_path / "systems.md").read_text()
  assert page in capsys.readouterr().out
  rows = {
    line.split(" | ")[0].strip("| "): line.split(" | ")[1:]
    for line in page.splitlines()
    if line.startswith("|")
  }
  assert rows["images a record"] == ["2", "1 |"]
  inside = rows["text > image: inside the cone"]
  assert inside[0]
  assert inside[1].strip("| ") == ""  # CLIP's space has no cones
  assert rows["relative to hycoclip"][0] == "1.00"

  def never(run):
    raise AssertionError(run)

  monkeypatch.setattr(train, "train", never)
  systems.main(command)
  assert (tmp_path / "systems.md").read_text() == page
  command[command.index("2")] = "4"
  with pytest.raises(ValueError, match=r"config\.steps was 2, now 4"):
    systems.main(command)


def test_equal_flops_are_a_row_where_steps_cost_more():
  first, alike, twice = ({"xla_flops": flops} for flops in (100, 104, 230))
  steps = [systems.steps_of(s, first, 800) for s in (first, alike, twice)]
  assert steps == [800, 800, 348]
  found = {"results": {"zero_shot/top1": 0.5}, "seconds": None}
  less = {"results": {"zero_shot/top1": 0.25}, "seconds": None}
  same = {"batch_size": 8, "images": 1, "runs": {"0": found}, "runs_flops": {}}
  page = systems.table(
    {
      **dict.fromkeys(("date", "jax", "device", "config"), "x"),
      **{"steps": 800, "images": 8, "seeds": [0]},
      "systems": {
        "a": first | same,
        "b": twice | same | {"runs_flops": {"0": less}},
      },
    }
  )
  assert "| zero-shot, all classes | 0.500 | 0.500 |" in page
  assert "| zero-shot, all classes, at equal FLOPs | 0.500 | 0.250 |" in page
  assert "| steps at equal FLOPs | 800 | 348 |" in page


@pytest.mark.parametrize("name", costs.names())
def test_every_system_by_default_has_a_config(name):
  assert config_tree.load(f"{systems.CONFIG}:{name}").system == name


def test_mean_and_spread_of_seeds():
  assert systems.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
  assert systems.spread([0.25]) == "0.250"
  assert systems.spread([]) == ""


def test_the_table_of_costs_is_relative_to_the_first():
  row = {
    "images_per_record": 2.0,
    "matmul_flops": 1e12,
    "xla_flops": 2e12,
    "argument_bytes": 2.0**30,
    "temporary_bytes": 2.0**31,
  }
  found = {"hycoclip": row, "clip": row | {"xla_flops": 1e12}}
  last = costs.table(found).splitlines()[-1]
  assert last == "| clip | 2 | 1 | 1 | 0.50 | 1.00 | 2.00 |"
