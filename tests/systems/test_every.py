"""Every system goes through all of the house; a new one joins by existing."""

import json
import shutil

import jax
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax import systems
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.training import log, runs, sharding, train
from tests import golden_files, meshes, small

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("standard_promotion"),
  pytest.mark.parametrize("name", systems.names()),
]
FEW = 4  # steps


def config_of(name):
  """The published systems go many steps, others few."""
  c = small.config(name, small.MANY if name in golden_files.OBJECTIVES else FEW)
  c.checkpoint.every = c.steps - 2
  return c


def first_steps(run, steps=FEW):
  """Losses of a run's first steps."""
  state, _ = train.first_state(run)
  step, batches = train.make_step(run), train.make_batches(run, 0, Faults(0.0))
  found = []
  for _ in range(steps):
    batch = sharding.to_global(next(batches), run.mesh)
    state, metrics = step(state, batch)
    found.append(float(metrics["loss"]))
  return np.array(found)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """name -> workdir and model of a run on eight devices, made once."""
  made = {}

  def get(name):
    if name not in made:
      workdir = tmp_path_factory.mktemp(name)
      with jax.numpy_dtype_promotion("standard"):
        run = runs.prepare(config_of(name), workdir)
        made[name] = workdir, train.train(run)
    return made[name]

  return get


@pytest.mark.slow
def test_a_run_leaves_its_metrics_config_and_model(name, trained):
  workdir, model = trained(name)
  assert model is not None
  config, rows = config_of(name), log.read(workdir)
  assert [row["step"] for row in rows] == list(range(1, config.steps + 1))
  assert all(np.isfinite(list(row.values())).all() for row in rows)
  task = runs.prepare(config, workdir).task
  assert {"loss", "grad_norm", *task.rules.bounds} <= rows[0].keys()
  assert json.loads((workdir / "config.json").read_text())["system"] == name
  texts = ["a red circle"]
  np.testing.assert_array_equal(
    hyperclip_jax.load(workdir).encode_text(texts), model.encode_text(texts)
  )


def test_a_run_that_died_goes_on_bit_for_bit(name, trained, tmp_path):
  workdir, model = trained(name)
  config = config_of(name)
  shutil.copytree(workdir, tmp_path / "run")
  shutil.rmtree(tmp_path / f"run/checkpoints/{config.steps}")
  resumed = train.train(runs.prepare(config, tmp_path / "run"))
  jax.tree.map(
    np.testing.assert_array_equal, resumed.variables, model.variables
  )
  before, after = (log.read(f) for f in (workdir, tmp_path / "run"))
  assert [r["loss"] for r in after] == [r["loss"] for r in before]


@pytest.mark.slow
def test_one_device_and_micro_batches_train_alike(name, trained, tmp_path):
  workdir, _ = trained(name)
  wanted = np.array([row["loss"] for row in log.read(workdir)])
  config = config_of(name)
  run = runs.prepare(config, tmp_path)
  assert run.mesh.shape == {"data": 8, "model": 1}
  alone = runs.Run(config, tmp_path, run.sources, meshes.mesh())
  found = first_steps(alone, config.steps)
  np.testing.assert_allclose(found[:FEW], wanted[:FEW], rtol=1e-5)
  if name in golden_files.OBJECTIVES:
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
  if run.task.micro_batches:
    config.micro_batches = 2
    run = runs.prepare(config, tmp_path)
    np.testing.assert_allclose(first_steps(run), wanted[:FEW], rtol=1e-4)


def test_runs_and_releases_are_used_alike(name, trained, tmp_path):
  workdir, model = trained(name)
  model.save_pretrained(tmp_path / "release")
  texts = ["a red circle", "a blue square", "a small green star"]
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 255, (2, 40, 40, 3), np.uint8)
  answers = []
  for folder in (workdir, tmp_path / "release"):
    found = hyperclip_jax.load(folder)
    if folder == workdir or not hasattr(systems.find(name), "released"):
      assert (found.system, found.options) == (name, model.options)
    index = found.index_texts(texts)
    index.save(tmp_path / "index")
    index = hyperclip_jax.Index.load(tmp_path / "index")
    rows = found.encode_image(pictures)
    margins = found.entailment_score(found.encode_text(texts[:1]), rows)
    walks = found.traverse(pictures, index, steps=5)
    assert np.isfinite(rows).all()
    assert np.isfinite(margins).all()
    assert all(len(walk) > 0 for walk in walks)
    classified = found.classify(pictures, texts).probabilities
    np.testing.assert_allclose(classified.sum(axis=1), 1)
    hits = found.search_image(pictures, index, k=2)
    answers.append(
      (rows, classified, [[h.name for h in best] for best in hits])
    )
  first, second = answers
  np.testing.assert_array_equal(first[0], second[0])
  np.testing.assert_array_equal(first[1], second[1])
  assert first[2] == second[2]
