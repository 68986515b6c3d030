"""Twenty steps of the official recipe, loss by loss."""

import jax
import numpy as np
import pytest

from hyperclip_jax.optim import adamw
from tests import golden_files, golden_runs

pytestmark = pytest.mark.usefixtures("standard_promotion", "optimized")


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_losses_of_twenty_steps(name):
  pairs = list(golden_runs.series(name))
  for key, found, wanted in pairs:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, err_msg=key)
  assert "train/loss" in [pair.name for pair in pairs]


def test_parameters_after_twenty_steps():
  _, state = golden_runs.training("hycoclip", golden_runs.STEPS)
  wanted = golden_files.model("hycoclip", "step20").variables["params"]

  # Softmax does not see a bias of the keys: its gradient is rounding noise,
  # which Adam scales to full steps, so no two machines agree on it.
  def without_key_bias(path, leaf):
    names = [key.key for key in path]
    return np.split(leaf, 3, -1)[::2] if names[-2:] == ["qkv", "bias"] else leaf

  found, wanted = (
    jax.tree_util.tree_map_with_path(without_key_bias, jax.device_get(tree))
    for tree in (state.params, wanted)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=5e-5), found, wanted
  )


def test_schedule_equals_official():
  golden = golden_files.arrays("clip_mini")["train/lr"]
  steps = golden_runs.STEPS
  schedule = adamw.schedule(5e-4, warmup=4, steps=steps)
  found = [float(schedule(step)) for step in range(steps)]
  np.testing.assert_allclose(found, golden, rtol=1e-5, atol=1e-12)
