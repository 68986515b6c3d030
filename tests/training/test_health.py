"""Numbers gone bad are skipped, counted, named and told once."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.training import build, health, sharding
from hyperclip_jax.training import step as step_lib
from hyperclip_jax.training.health import BadNumbersError, Health
from tests import small

GOOD = {"loss": 1.0, "grad_norm": 1.0, "skipped": 0.0, "curv": 1.0}
BAD = GOOD | {"loss": float("nan"), "skipped": 1.0}


@pytest.fixture
def watch(tmp_path):
  bounds = {"curv": (0.1, 10.0), "logit_scale": (0.0, 100.0)}
  return Health(tmp_path, 2, lambda step: [f"a.tar: record '{step}'"], bounds)


def test_so_many_in_a_row_and_no_more(watch, tmp_path, caplog):
  rows = [GOOD, BAD, BAD, GOOD, BAD, BAD]
  for step, row in enumerate(rows, 1):
    watch.look(step, row)
  with pytest.raises(BadNumbersError, match=r"3 updates in a row .* step 7"):
    watch.look(7, BAD)
  lines = (tmp_path / health.FILE).read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [2, 3, 5, 6, 7]
  assert json.loads(lines[0])["records"] == ["a.tar: record '2'"]
  assert "step 6 skipped, 2 in a row: loss nan" in caplog.text


def test_a_spike_is_told_once(watch, caplog):
  for step in range(1, 60):
    noise = 0.1 * (-1) ** step
    spike = 3.0 if 40 <= step < 45 else 0.0
    watch.look(step, GOOD | {"loss": 2.0 + noise + spike})
  assert [r.getMessage()[:8] for r in caplog.records] == ["step 40:"]
  assert "loss 4.9 is a spike" in caplog.text or "loss 5.1" in caplog.text


def test_a_falling_or_flat_loss_is_no_spike(watch, caplog):
  for step in range(1, 200):
    watch.look(step, GOOD | {"loss": 5.0 * 0.97**step})
  for step in range(200, 300):
    watch.look(step, GOOD | {"loss": 1.0})
  watch.look(300, GOOD | {"loss": 1.05})
  # The loss came up to 1 from 0.01 once: that was one.
  assert [r.getMessage()[:9] for r in caplog.records] == ["step 200:"]


@pytest.mark.parametrize(
  ("name", "value", "side"),
  [
    ("curv", 10.0, "upper"),
    ("curv", 0.1, "lower"),
    ("logit_scale", 100.0, "upper"),
  ],
)
def test_a_scalar_at_its_bound_is_told_once(name, value, side, watch, caplog):
  for step in range(1, 9):
    watch.look(step, GOOD | {name: value * (1 + 1e-7) if step > 3 else 1.0})
  (record,) = caplog.records
  assert f"step 4: {name} is at its {side} bound" in record.getMessage()


def test_embeddings_that_are_all_alike_are_noticed_once(watch, caplog):
  chance = math.log(768)
  for step in range(1, 2 * health.FLAT_STEPS + 1):
    noise = 0.002 * chance * (-1) ** step
    watch.look(step, GOOD | {"contrastive_loss": chance + noise})
  (record,) = caplog.records
  message = record.getMessage()
  assert message.startswith(f"step {health.FLAT_STEPS}: the contrastive loss")
  assert "for 1000 steps" in message
  assert "config.optim.learning_rate" in message


@pytest.mark.parametrize(
  "loss",
  [
    lambda step: 6.6 * math.exp(-step / 20_000) + 0.05 * math.sin(step),
    lambda step: 0.3 * (1 + 0.02 * (-1) ** step),
    lambda step: 0.0,  # batches of one
  ],
)
def test_a_contrastive_loss_that_moves_is_no_collapse(loss, watch, caplog):
  for step in range(1, 2 * health.FLAT_STEPS + 1):
    watch.look(step, GOOD | {"contrastive_loss": loss(step)})
  assert not caplog.records


@pytest.mark.usefixtures("standard_promotion")
def test_a_finite_loss_of_a_bad_gradient_is_skipped():
  config = small.config("clip")
  task = build.task(config, sharding.make_mesh())
  task = task._replace(
    init=lambda key: {"params": {"kernel": jnp.ones((3, 2))}},
    embed=lambda variables, batch, key: (
      batch["whole"]["image"] @ variables["params"]["kernel"],
      variables,
    ),
    loss=lambda params, outputs, step: (jnp.sqrt(jnp.sum(0 * outputs)), {}),
    project=lambda variables: variables,
  )
  optimizer = build.optimizer(config, task.rules)
  before = step_lib.init(task, optimizer, jax.random.key(0))
  update = jax.jit(functools.partial(step_lib.update, task, optimizer))
  batch = {"whole": {"image": jnp.ones((2, 3))}}
  after, values = update(before, batch, jax.random.key(0))
  assert (float(values["loss"]), float(values["skipped"])) == (0.0, 1.0)
  assert not np.isfinite(float(values["grad_norm"]))
  assert int(after.step) == 1
  jax.tree.map(
    np.testing.assert_array_equal,
    (after.params, after.opt_state),
    (before.params, before.opt_state),
  )
