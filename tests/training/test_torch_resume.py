"""The official optimiser in ours: which moment is whose, and back."""

import jax
import numpy as np
import pytest
import torch

from hyperclip_jax.training import torch_resume
from tests import golden_files, golden_runs

PATH = golden_files.FOLDER / "hycoclip_mini_step20.pth"
pytestmark = pytest.mark.usefixtures("standard_promotion")


def load(path=PATH):
  return torch_resume.load(path, vision_heads=4, text_heads=2)


def test_recipe_and_counts():
  training = load()
  assert training.recipe == torch_resume.Recipe(
    5e-4, 4, 20, 0.9, 0.98, 1e-8, 0.2, decay_norm_and_bias=True
  )
  counts = [x for x in jax.tree.leaves(training.state) if x.dtype == np.int32]
  assert [int(count) for count in counts] == [20, 20, 20]

  # The optimiser takes its state up: with no learning left, nothing moves.
  optimizer, state = training.recipe.optimizer(), training.state
  zeros = jax.tree.map(np.zeros_like, state.params)
  updates, after = optimizer.update(zeros, state.opt_state, state.params)
  assert jax.tree.structure(after) == jax.tree.structure(state.opt_state)
  assert max(float(abs(u).max()) for u in jax.tree.leaves(updates)) < 1e-15


def test_moments_equal_those_of_our_own_twenty_steps():
  # The file numbers its moments without names: our own run says whose is whose.
  _, state = golden_runs.training("hycoclip", golden_runs.STEPS)
  found, wanted = load().state.opt_state[0], state.opt_state[0]

  def compare(path, a, b):
    if [key.key for key in path][-2:] == ["qkv", "bias"]:
      return  # of the keys: rounding noise, see test_golden_training
    error = np.linalg.norm(a - b) / np.linalg.norm(b)
    assert error < 2e-3, (path, error)

  jax.tree_util.tree_map_with_path(compare, found.mu, wanted.mu)
  jax.tree_util.tree_map_with_path(compare, found.nu, wanted.nu)


def test_round_trip_is_bit_for_bit(tmp_path):
  torch_resume.save(tmp_path / "a.pth", load())
  found, wanted = (
    torch.load(path, weights_only=True) for path in (tmp_path / "a.pth", PATH)
  )
  assert_equal(found, wanted)


def assert_equal(found, wanted, name=""):
  if isinstance(wanted, dict):
    assert found.keys() == wanted.keys(), name
    for key in wanted:
      assert_equal(found[key], wanted[key], f"{name}/{key}")
  elif isinstance(wanted, torch.Tensor):
    assert found.dtype == wanted.dtype, name
    assert torch.equal(found, wanted), name
  else:
    assert type(found) is type(wanted), name
    assert found == wanted, name


def test_weights_alone_are_told():
  path = golden_files.FOLDER / "hycoclip_mini_init.pth"
  with pytest.raises(ValueError, match="no optimiser state of the official"):
    load(path)


def test_other_order_of_the_optimiser_is_refused(tmp_path):
  checkpoint = torch.load(PATH, weights_only=True)
  state = checkpoint["optimizer"]["state"]
  state[1], state[2] = state[2], state[1]
  torch.save(checkpoint, tmp_path / "a.pth")
  with pytest.raises(ValueError, match=r"exp_avg number 1 has shape"):
    load(tmp_path / "a.pth")
