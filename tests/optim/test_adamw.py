"""What decays, and when the learning rate peaks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.optim import adamw
from hyperclip_jax.training import build, config, sharding
from tests import golden_rocket, small


def masks(norm_and_bias):
  config = small.config()
  task = build.task(config, sharding.make_mesh())
  state = jax.eval_shape(build.init(config, task))
  rules = task.rules
  mask = adamw.decay_mask(
    state.params, rules.matrices, rules.scalars, norm_and_bias
  )
  flat, _ = jax.tree_util.tree_flatten_with_path(mask)
  return {"/".join(k.key for k in path): on for path, on in flat}


def test_default_decays_matrices_only():
  for name, on in masks(norm_and_bias=False).items():
    matrix = name.endswith(("kernel", "embedding", "position_embed"))
    assert on == matrix, name


def test_official_decays_all_but_the_scalars():
  off = {name for name, on in masks(norm_and_bias=True).items() if not on}
  assert off == {"logit_scale", "curv", "visual_alpha", "textual_alpha"}


def test_schedule():
  rate = adamw.schedule(2.0, warmup=10, steps=110)
  assert rate(0) == 0
  assert rate(5) == 1
  assert rate(10) == 2
  assert rate(60) == pytest.approx(1)
  assert rate(110) == pytest.approx(0, abs=1e-6)
  assert rate(1000) == pytest.approx(0, abs=1e-6)


def test_schedule_without_warmup_starts_at_the_peak():
  assert adamw.schedule(2.0, warmup=0, steps=10)(jnp.asarray(0)) == 2


@pytest.mark.parametrize("case", golden_rocket.cases("schedule"))
def test_schedule_between_two_rates_equals_official(case):
  golden = golden_rocket.under(golden_rocket.arrays("losses_float64"), case)
  given = {k: v.item() for k, v in golden_rocket.under(golden, "in").items()}
  each = given["steps_per_epoch"]
  rate = adamw.schedule_between(
    given["base"],
    warmup=given["warmup_epochs"] * each,
    steps=given["epochs"] * each,
    start=given["start"],
    end=given["final"],
  )
  found = [float(rate(step)) for step in range(given["epochs"] * each)]
  np.testing.assert_allclose(found, golden["out/lr"], rtol=2e-6)


def test_config_chooses_the_schedule():
  c = config.paper()
  c.steps, c.optim.warmup = 1_000, 100
  assert float(build.schedule(c)(0)) == 0
  c.optim.start, c.optim.end = 1e-6, 1e-5
  rate = build.schedule(c)
  assert float(rate(0)) == pytest.approx(1e-6)
  assert float(rate(99)) == float(rate(100)) == pytest.approx(5e-4)
  assert float(rate(1_000)) == pytest.approx(1e-5)
  c.optim.end = 1.0
  with pytest.raises(ValueError, match="end must be at most the learning_rate"):
    config.validate(c, devices=1)


def test_paper_recipe_peaks_after_warmup():
  rate = build.schedule(config.paper())
  assert rate(4_000) == pytest.approx(5e-4)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("b1", [0.0, 0.9, 0.999999])
@pytest.mark.parametrize("b2", [0.0, 0.9, 0.999999])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_finite_gradients_make_finite_parameters(b1, b2, decay):
  """At what `options.Optim` still takes; `step.update` relies on it."""
  every = lambda params: jax.tree.map(lambda _: True, params)  # noqa: E731
  optimizer = adamw.adamw(lambda _: 1.0, b1, b2, 1e-12, decay, every)
  # The largest whose square is finite, and then none, or less and less.
  spike = {"kernel": jnp.array([1.8e19, 1e13, 1e-20])}
  fall = jnp.array([0.0, 0.5, 0.99])

  def step(carry, _):
    params, state, gradient = carry
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    return (params, state, {"kernel": fall * gradient["kernel"]}), None

  params = {"kernel": jnp.ones(3)}
  carry = (params, optimizer.init(params), spike)
  carry, _ = jax.lax.scan(step, carry, length=3000)
  assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(carry))
