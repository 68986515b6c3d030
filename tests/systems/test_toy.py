"""A system of another package goes through all of it, without an edit here."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import log, runs, sharding, train
from tests import meshes, small

pytestmark = pytest.mark.usefixtures("standard_promotion")

NAME = "toypackage.toy"
GUIDE = pathlib.Path(__file__).parents[2] / "docs/extend.md"
TOY = GUIDE.read_text("utf-8").split("```python\n")[1].split("```\n")[0]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  """A config of the toy, whose package can be imported."""
  folder = tmp_path_factory.mktemp("third_party")
  (folder / "toypackage").mkdir()
  (folder / "toypackage/__init__.py").touch()
  (folder / "toypackage/toy.py").write_text(TOY)
  sys.path.insert(0, str(folder))
  found = small.config("clip", steps=4)
  config_lib.override(found, [("system", NAME), ("trust_system", "true")])
  yield found
  sys.path.remove(str(folder))


def changed(config, **options):
  config = config.copy_and_resolve_references()
  config.model.update(options)
  return config


def losses(workdir):
  return [row["loss"] for row in log.read(workdir)]


def first_steps(run, steps=2):
  """Losses and the last state."""
  state, _ = train.first_state(run)
  step, batches = train.make_step(run), train.make_batches(run, 0, Faults(0.0))
  found = []
  for _ in range(steps):
    batch = sharding.to_global(next(batches), run.mesh)
    state, metrics = step(state, batch)
    found.append(float(metrics["loss"]))
  return np.array(found), jax.device_get(state)


def test_it_is_short():
  lines = [line for line in TOY.splitlines() if line.strip()]
  code = [x for x in lines if not x.startswith(("import ", "from "))]
  assert len(code) <= 60


@pytest.mark.slow
def test_it_trains_resumes_and_is_used(config, tmp_path):
  config = changed(config, dropout=0.1)
  whole = train.train(runs.prepare(config, tmp_path / "whole"))
  assert whole is not None
  part = changed(config)
  part.steps, part.checkpoint.allow_steps_change = 2, True
  train.train(runs.prepare(part, tmp_path / "resumed"))
  again = changed(config)
  again.checkpoint.allow_steps_change = True
  resumed = train.train(runs.prepare(again, tmp_path / "resumed"))
  assert resumed is not None
  assert losses(tmp_path / "resumed")[2:]
  assert [row["step_seen"] for row in log.read(tmp_path / "whole")] == [
    0.0,
    1.0,
    2.0,
    3.0,
  ]

  with pytest.raises(ValueError, match=r"load\(\.\.\., trust_system=True\)"):
    hyperclip_jax.load(tmp_path / "whole")
  whole.save_pretrained(tmp_path / "release")
  described = json.loads((tmp_path / "release/model.json").read_text())
  assert described["system"] == NAME
  assert described["options"] == {
    "width": 8,
    "pool": "mean",
    "dropout": 0.1,
    "statistics": False,
  }
  texts = ["a red circle", "a blue square"]
  pictures = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), np.uint8)
  wanted = whole.encode_text(texts)
  for folder in ("whole", "release"):
    model = hyperclip_jax.load(tmp_path / folder, trust_system=True)
    np.testing.assert_array_equal(model.encode_text(texts), wanted)
    assert type(model.space).__name__ == "Space"
    found = model.classify(pictures, texts)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    hits = model.search_image(pictures, model.index_texts(texts), k=1)
    assert {hit.name for (hit,) in hits} <= set(texts)


def test_statistics_of_the_batch_are_those_of_all_devices(config, tmp_path):
  config = changed(config, statistics=True)
  run = runs.prepare(config, tmp_path)
  assert run.mesh.shape["data"] == 8
  eight, state = first_steps(run)
  mean = state.variables["batch_stats"]["BatchNorm_0"]["mean"]
  assert np.any(mean)
  one = runs.Run(run.config, tmp_path, run.sources, meshes.mesh())
  alone, same = first_steps(one)
  np.testing.assert_allclose(eight, alone, rtol=1e-5)
  again = same.variables["batch_stats"]["BatchNorm_0"]["mean"]
  np.testing.assert_allclose(mean, again, rtol=1e-5, atol=1e-7)


def test_micro_batches_train_alike_or_are_refused(config, tmp_path):
  whole, _ = first_steps(runs.prepare(changed(config), tmp_path))
  two = changed(config)
  two.micro_batches = 2
  found, _ = first_steps(runs.prepare(two, tmp_path))
  np.testing.assert_allclose(found, whole, rtol=1e-5)
  two.model.statistics = True
  with pytest.raises(
    ValueError, match=r"config\.micro_batches must be 1, found 2"
  ):
    first_steps(runs.prepare(two, tmp_path))


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("width", "1", "config.model.width must be finite and at least 2, found 1"),
    ("pool", "sum", "config.model.pool must be one of mean, max, found 'sum'"),
    ("dropout", "0.95", "config.model.dropout must be at most 0.9, found 0.95"),
  ],
)
def test_its_options_are_checked(config, name, value, message):
  config = changed(config)
  config_lib.override(config, [(f"model.{name}", value)])
  with pytest.raises(ValueError, match=message):
    config_lib.validate(config, devices=8)
