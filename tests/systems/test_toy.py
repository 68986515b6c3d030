"""A system of another package goes through all of it, without an edit here."""

import importlib
import json
import pathlib
import sys

import jax
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.inference import bulk
from hyperclip_jax.reports import comparison
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import config_tree, log, runs, sharding, train
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


def test_configs_of_the_package_fit_it(config):
  found = config_tree.load("shapes_tiny")
  config_lib.override(found, [("system", NAME), ("trust_system", "true")])
  assert found.data.text_buckets == (16, 24, 32)  # the toy's context
  config_lib.validate(found, devices=8)
  recipe = config_lib.paper(NAME, trust_system=True)
  recipe.data.shards = "train.tar"
  assert recipe.model.width == 8
  config_lib.validate(recipe, devices=8)


def test_values_of_another_system_are_kept_where_they_are_valid(config):
  found = changed(config, width=16, pool="max")
  found.model.pool = "sum"
  config_lib.override(found, [("system", NAME)])
  assert (found.model.width, found.model.pool) == (16, "mean")


@pytest.mark.parametrize(
  ("name", "code", "message"),
  [
    ("nothing", None, "Python finds no such module: install its package"),
    ("no_task", TOY.replace("def task(", "def tsk("), "the module lacks task"),
    (
      "plain",
      TOY.replace("Options(Section)", "Options"),
      "lacks Options that is a dataclass derived from sections.Section",
    ),
    (
      "union",
      TOY.replace("pool: str", "pool: str | None"),
      r"pool is declared as str \| None: a field may be bool, int, float, str",
    ),
    (
      "default",
      TOY.replace("number(8, least=2)", "number(1, least=2)"),
      r"Options of toypackage.default: width must be finite and at least 2",
    ),
  ],
)
def test_what_is_wrong_with_a_system_is_said(config, name, code, message):
  package = pathlib.Path(sys.modules["toypackage"].__path__[0])
  if code is not None:
    (package / f"{name}.py").write_text(code)
    importlib.invalidate_caches()
  with pytest.raises(ValueError, match=message):
    config_lib.override(changed(config), [("system", f"toypackage.{name}")])


@pytest.mark.parametrize(
  ("name", "old", "new", "message"),
  [
    (
      "wide",
      "width=o.width,",
      "width=o.width + 1,",
      r"image of its encoder gives rows of the shape \(8,\), .* width is 9",
    ),
    (
      "flat",
      "class Space(Sphere):",
      "class Space:",
      "its space Space lacks parts of geometry.space.Space",
    ),
  ],
)
def test_an_encoder_is_checked_before_training(
  config, tmp_path, name, old, new, message
):
  package = pathlib.Path(sys.modules["toypackage"].__path__[0])
  (package / f"{name}.py").write_text(TOY.replace(old, new))
  importlib.invalidate_caches()
  config = changed(config)
  config_lib.override(config, [("system", f"toypackage.{name}")])
  with pytest.raises(ValueError, match=message):
    runs.prepare(config, tmp_path)


def test_a_run_of_others_imports_nothing(config, tmp_path):
  run = runs.prepare(changed(config), tmp_path)
  (tmp_path / config_lib.FILE).write_text(run.config.to_json())
  with pytest.raises(ValueError, match="is a module of another package"):
    config_lib.read(tmp_path)
  with pytest.raises(ValueError, match="is a module of another package"):
    comparison.write([tmp_path], tmp_path / "page.html")
  assert config_lib.read(tmp_path, trust_system=True).system == NAME
  comparison.write([tmp_path], tmp_path / "page.html", trust_system=True)


def test_files_know_no_space_of_another_package(config, tmp_path):
  options = config_lib.options(config)
  module = sys.modules[NAME]
  variables = module.encoder(options).init(jax.random.key(0))
  model = hyperclip_jax.HyperCLIP(NAME, options, variables, trust_system=True)
  with pytest.raises(ValueError, match="files know no space Space, only"):
    bulk.embed(model, tmp_path / "out.npz", ["a"])
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ("metric", "message"),
  [
    ({"loss": 3.0}, "the loss names a metric 'loss': choose another name"),
    ({"far": np.ones(3)}, r"metric 'far' of the loss must be a number, .*\(3,"),
  ],
)
def test_metrics_are_numbers_with_names_of_their_own(
  config, tmp_path, metric, message
):
  run = runs.prepare(changed(config), tmp_path)
  task = run.task

  def loss(*inputs):
    value, _ = task.loss(*inputs)
    return value, metric

  run.__dict__["task"] = task._replace(loss=loss)
  with pytest.raises(ValueError, match=message):
    first_steps(run, steps=1)
