"""A run starts from a trained model."""

import jax
import numpy as np
import pytest

from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import runs, start, train
from tests import small

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
  """Random parameters of ProLIP, as a release."""
  folder = tmp_path_factory.mktemp("start")
  with jax.numpy_dtype_promotion("standard"):
    model = _model(small.config("prolip"))
    model.save_pretrained(folder / "release")
  return folder / "release", model


def _model(config):
  from hyperclip_jax.inference.model import HyperCLIP
  from hyperclip_jax.training import build

  variables = jax.jit(build.encoder(config).init)(jax.random.key(7))
  return HyperCLIP(config.system, config_lib.options(config), variables)


def test_a_run_begins_with_the_models_variables(release, tmp_path):
  folder, model = release
  config = small.config("prolip")
  config.init_from = str(folder)
  run = runs.prepare(config, tmp_path)
  state, _ = train.first_state(run)
  jax.tree.map(np.testing.assert_array_equal, state.variables, model.variables)
  fresh, _ = train.first_state(runs.prepare(small.config("prolip"), tmp_path))
  assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(
    lambda x: x.sharding, fresh
  )


def test_prolip_starts_with_longer_texts(release, tmp_path):
  folder, model = release
  config = small.config("prolip")
  config.init_from = str(folder)
  config.model.text.context = 40
  config.data.text_buckets = (40,)
  found = start.variables(config)["params"]["text"]["position_embed"]
  old = np.asarray(model.params["text"]["position_embed"])
  assert found.shape == (42, 32)
  np.testing.assert_array_equal(found[-2:], old[-2:])


def test_other_models_are_refused(release):
  folder, _ = release
  config = small.config("clip")
  config.init_from = str(folder)
  with pytest.raises(
    ValueError, match=r"is a model of prolip: set config.system"
  ):
    start.variables(config)
  config = small.config("prolip")
  config.init_from = str(folder)
  config.model.vision.depth = 1
  with pytest.raises(ValueError, match=r"is \(2, .* needs \(1, "):
    start.variables(config)
  config.init_from = str(folder / "none")
  with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
    start.variables(config)


def test_files_of_the_model_are_found_from_anywhere(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  config = small.config("prolip")
  config.init_from, config.model.tokenizer = "release", "a/tokenizer.json"
  found = runs.anchored(config)
  assert found.init_from == str(tmp_path / "release")
  assert found.model.tokenizer == str(tmp_path / "a/tokenizer.json")
  config.init_from = config.model.tokenizer = "hf-hub:org/name"
  found = runs.anchored(config)
  assert (found.init_from, found.model.tokenizer) == ("hf-hub:org/name",) * 2
  config.system = "nothing"
  runs.anchored(config)
