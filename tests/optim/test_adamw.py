"""What decays, and when the learning rate peaks."""

import jax
import jax.numpy as jnp
import optax
import pytest

from hyperclip_jax.optim import adamw
from hyperclip_jax.training import build, config, sharding
from tests import small


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
