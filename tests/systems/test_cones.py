"""Options of HyCoCLIP and its successors that make cones hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.losses import entailment
from hyperclip_jax.training import build
from hyperclip_jax.training import config as config_lib
from tests import meshes, small

NAMES = ("hycoclip", "uncha", "hyper3", "phyclip")
BATCH = 4
KEY = jax.random.key(0)


def task_of(name, **options):
  config = small.config(name)
  config.model.update(options)
  config_lib.validate(config, devices=1)
  return build.task(config, meshes.mesh())


def outputs(name, dim=16):
  """Points near the root, so that every penalty acts."""
  rng = np.random.default_rng(0)

  def view(rows):
    return {
      kind: jnp.asarray(rng.normal(size=(rows, dim)) * 0.03, jnp.float32)
      for kind in ("image", "text")
    }

  found = {"whole": view(BATCH), "part": view(BATCH)}
  if name == "hyper3":
    parents = jnp.tile(jnp.array([-1, 0], jnp.int32), BATCH)
    weight = jnp.ones(2 * BATCH)
    found["query"] = view(2 * BATCH) | {"parent": parents, "weight": weight}
  return found


def params_of(task):
  shapes = jax.eval_shape(task.init, KEY)["params"]
  names = [n for n in shapes if n == "curv" or n.startswith("logit_scale")]
  return {name: jnp.full(shapes[name].shape, 0.1) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_weight_rises_and_radii_are_penalised(name):
  points, plain = outputs(name), task_of(name)
  params = params_of(plain)
  options = {"entail_ramp": 10, "radius_weight": 3.0, "least_radius": 0.5}
  held = task_of(name, **options)

  @jax.jit
  def losses(params, step):
    return [task.loss(params, points, step) for task in (plain, held)]

  (_, terms), (first, found) = losses(params, jnp.int32(0))
  (value, _), (later, _) = losses(params, jnp.int32(10))
  assert terms["entailment_loss"] > 0
  assert "radius_loss" not in terms
  radius = 3 * found["radius_loss"]
  assert radius > 0.03
  np.testing.assert_allclose(
    first, terms["contrastive_loss"] + radius, rtol=1e-6
  )
  np.testing.assert_allclose(later, value + radius, rtol=1e-6)


@pytest.mark.parametrize("name", ["meru", "euclip"])
def test_the_weight_rises_without_boxes(name):
  task = task_of(name, entail_ramp=10, entail_weight=0.5)
  points = {"whole": outputs(name)["whole"]}
  params = params_of(task)
  for step, weight in ((0, 0), (4, 0.2), (10, 0.5), (20, 0.5)):
    loss, terms = task.loss(params, points, jnp.int32(step))
    wanted = terms["contrastive_loss"] + weight * terms["entailment_loss"]
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    assert terms["entailment_loss"] > 0.1


def test_the_penalty_by_hand():
  points = jnp.array([[0.1, 0, 0, 0.2], [9, 0, 0, 9.0], [jnp.nan] * 4])
  where = jnp.array([True, True, False])

  def penalty(curv, points):
    return entailment.near_root(curv, points, 0.5, where)

  curv = jnp.array([1.0, 4.0])
  # sqrt(c) |x| is 0.1 in the first factor and 0.4 in the second.
  np.testing.assert_allclose(
    penalty(curv, points), (0.4**2 + 0.1**2) / 2 / 2, rtol=1e-6
  )
  grads = jax.grad(penalty, (0, 1))(curv, points.at[1].set(0))
  assert all(np.isfinite(leaf).all() for leaf in grads)
  assert (grads[1][0] < 0)[jnp.array([0, 3])].all()  # outward


def scalars_of(task):
  names = ("curv", "visual_alpha", "textual_alpha")

  def scalars(key):
    params = task.init(key)["params"]
    return {name: params[name] for name in names}

  return scalars


@pytest.mark.parametrize("name", NAMES)
def test_curvature_and_radius_start_as_asked_and_keep_their_bounds(name):
  task = task_of(name, curv_range=(0.5, 0.5), init_radius=2.0)
  plain = task_of(name)
  assert "curv" in plain.rules.bounds
  assert "curv" not in task.rules.bounds  # fixed: nothing to watch
  made, was = (jax.jit(scalars_of(t))(KEY) for t in (task, plain))
  np.testing.assert_allclose(jnp.exp(made["curv"]), 0.5, rtol=1e-6)
  np.testing.assert_allclose(jnp.exp(was["curv"]), 1)
  for alpha in ("visual_alpha", "textual_alpha"):
    np.testing.assert_allclose(made[alpha] - was[alpha], np.log(2), rtol=1e-6)
  scales = dict.fromkeys(jax.eval_shape(task.init, KEY)["params"], 0.0)
  below = scales | made | {"curv": made["curv"] - 3}
  moved = task.project({"params": below})["params"]
  np.testing.assert_allclose(jnp.exp(moved["curv"]), 0.5, rtol=1e-6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"curv_range": (1.0, 0.5)}, r"curv_range must be two positive .*\(1.0, 0"),
    ({"curv_range": (1.0,)}, r"curv_range must be two positive"),
    ({"init_radius": 5.0}, r"init_radius must be at most 4, .*found 5.0"),
    ({"cones": "soft"}, r"cones must be one of hard, leaky, angle"),
  ],
)
def test_what_has_no_meaning_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    task_of("hycoclip", **options)


@pytest.mark.parametrize("name", ["meru", "hycoclip", "uncha", "phyclip"])
def test_the_scale_of_cones_is_that_of_the_space(name):
  config = small.config(name)
  config.model.min_radius = 0.3
  params = params_of(task_of(name, min_radius=0.3))
  space: Any = build.encoder(config).space(params)
  assert space.min_radius == 0.3


def test_the_radius_of_a_factor_bounds_that_of_a_product():
  with pytest.raises(ValueError, match=r"init_radius must be at most 2\.828"):
    task_of("phyclip", init_radius=3.0)


def test_leaky_cones_add_a_tenth_of_the_angle():
  points = outputs("hycoclip")
  params = params_of(task_of("hycoclip"))
  step = jnp.int32(0)
  found = {
    kind: task_of("hycoclip", cones=kind).loss(params, points, step)[1]
    for kind in entailment.KINDS
  }
  for name in ("text_image_entailment_loss", "cross_image_entailment_loss"):
    hard, leaky, angle = (found[kind][name] for kind in entailment.KINDS)
    np.testing.assert_allclose(leaky, hard + angle / 10, rtol=1e-5)
