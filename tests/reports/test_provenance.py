"""The header of a report says what made it."""

import subprocess

import pytest

import hyperclip_jax
from hyperclip_jax.evals import held_out
from hyperclip_jax.reports import provenance
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import runs, sources
from tests.evals import saved


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
  folder = saved.model(tmp_path_factory.mktemp("header") / "run")
  (folder / runs.COMMAND).write_text("hyperclip train --config=x\n")
  config = config_lib.read(folder)
  sample = sources.sample(config)
  model = hyperclip_jax.load(folder)
  history = [{"step": 1, "seconds": 100.0}, {"step": 2, "seconds": 20.0}]
  return (
    provenance.of_run(folder, history, config, model, sample),
    config,
    model,
  )


def test_a_run_is_described(facts):
  found, config, model = facts
  assert f"{model.size / 1e6:.1f} M parameters" in found["model"]
  assert found["model"].endswith(
    "vision 2 layers of 32, patches of 8 px, images of 32 px, "
    "text 2 layers of 32"
  )
  assert found["data"] == config.data.shards
  assert found["held out"] == config.data.held_out
  assert (found["steps"], found["batch"], found["seed"]) == ("6", "16", "0")
  assert found["time"] == "2 min"
  assert found["device"] == "8 x cpu"
  for name in ("Python 3.", "jax ", "flax "):
    assert name in found["software"]
  assert found["command"] == "hyperclip train --config=x"


def test_what_was_not_held_out_is_said(facts, tmp_path):
  _, config, model = facts
  sample = sources.sample(config)._replace(name=held_out.TRAIN_SAMPLE)
  found = provenance.of_run(tmp_path, [], config, model, sample)
  assert found["held out"] == "none"
  assert "time" not in found


def test_a_checkout_names_its_commit(monkeypatch):
  def describe(command, **_):
    assert command[0] == "git"
    return subprocess.CompletedProcess(command, 0, "abc1234\n")

  monkeypatch.setattr(provenance.subprocess, "run", describe)
  monkeypatch.setattr(provenance.pathlib.Path, "exists", lambda path: True)
  assert provenance._commit() == " at abc1234"

  def fails(command, **_):
    raise FileNotFoundError("git")

  monkeypatch.setattr(provenance.subprocess, "run", fails)
  assert provenance._commit() == ""
