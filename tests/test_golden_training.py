"""Twenty steps of the official recipe, loss by loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax import optim
from hyperclip_jax import state as state_lib
from hyperclip_jax.objectives import OBJECTIVES, USES_BOXES
from hyperclip_jax.state import Inputs, TrainState
from tests import golden_files

pytestmark = pytest.mark.usefixtures("standard_promotion")
STEPS = 20


@functools.cache
def run(name):
  """The golden numbers, our metrics of each step, and the final state."""
  golden = golden_files.arrays(f"{name}_mini")
  model, params = golden_files.model(name)
  optimizer = optim.adamw(
    optim.schedule(5e-4, warmup=4, steps=STEPS),
    b1=0.9,
    b2=0.98,
    eps=1e-8,
    weight_decay=0.2,
    decay_norm_and_bias=True,
  )
  params = jax.tree.map(jnp.asarray, params)
  state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
  step_fn = jax.jit(
    functools.partial(
      state_lib.update,
      model=model,
      objective=OBJECTIVES[name],
      optimizer=optimizer,
    )
  )
  rows = []
  for step in range(STEPS):
    batch = {k: jnp.asarray(golden[k][step % 4]) for k in (
      "images", "tokens", "box_images", "box_tokens"
    )}  # fmt: skip
    inputs = Inputs(batch["images"], batch["tokens"])
    if name in USES_BOXES:
      inputs = inputs._replace(
        box_image=batch["box_images"], box_text=batch["box_tokens"]
      )
    state, metrics = step_fn(state, inputs)
    rows.append(metrics)
  return golden, jax.device_get(rows), state


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_losses_of_twenty_steps(name):
  golden, rows, _ = run(name)
  for key in golden:
    metric = key.removeprefix("train/")
    if metric in rows[0]:
      found = [row[metric] for row in rows]
      np.testing.assert_allclose(found, golden[key], rtol=1e-4, err_msg=key)
  assert "train/loss" in golden
  np.testing.assert_allclose(
    rows[0]["grad_norm"], np.linalg.norm(golden["grad_norms"]), rtol=1e-4
  )


def test_parameters_after_twenty_steps():
  *_, state = run("hycoclip")
  _, wanted = golden_files.model("hycoclip", "step20")

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
  schedule = optim.schedule(5e-4, warmup=4, steps=STEPS)
  found = [float(schedule(step)) for step in range(STEPS)]
  np.testing.assert_allclose(found, golden, rtol=1e-5, atol=1e-12)
