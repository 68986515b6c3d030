"""What the successors of HyCoCLIP promise beyond their golden numbers."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.geometry.spaces import Lorentz, Product
from hyperclip_jax.losses import contrastive, ring, tiled
from hyperclip_jax.systems import hycoclip, phyclip, uncha
from hyperclip_jax.training import build, runs, sharding, train
from tests import meshes, small


def first_losses(config, workdir, steps=2):
  run = dataclasses.replace(runs.prepare(config, workdir), mesh=meshes.mesh(1))
  state, _ = train.first_state(run)
  step, batches = train.make_step(run), train.make_batches(run, 0, Faults(0.0))
  found = []
  for _ in range(steps):
    batch = sharding.to_global(next(batches), run.mesh)
    state, metrics = step(state, batch)
    found.append(float(metrics["loss"]))
  return found


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("decay", [False, True])
def test_curvatures_decay_only_where_asked_for(decay):
  config = small.config("phyclip")
  config.model.decay_factors = decay
  task = build.task(config, meshes.mesh(1))
  params: Any = jax.eval_shape(task.init, jax.random.key(0))["params"]
  assert params["curv"].shape == params["visual_alpha"].shape == (2,)
  params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), params)
  optimizer: Any = build.optimizer(config, task.rules)
  zero = jax.tree.map(jnp.zeros_like, params)
  state, changes = optimizer.init(params), {}
  for _ in range(2):  # the first is at a rate of 0
    changes, state = optimizer.update(zero, state, params)
  for name in ("curv", "visual_alpha", "textual_alpha"):
    assert bool(changes[name].any()) == decay
  assert not changes["logit_scale"].any()


def test_a_factor_width_that_does_not_divide_is_refused():
  with pytest.raises(ValueError, match="factor_width must divide embed_dim"):
    phyclip.Options(embed_dim=512, factor_width=7)


def test_uncha_takes_the_first_boxes_in_their_order():
  parts = [Part(f"phrase {i}", WHOLE) for i in range(7)]
  shown = uncha.show(Record("k", "a caption", b"", tuple(parts), {}), 5)
  assert [part.text for part in shown["part"]] == [p.text for p in parts[:5]]
  (whole,) = shown["whole"]
  assert whole.text == "a caption"
  alone = uncha.show(Record("k", "a caption", b"", (), {}), 5)
  assert list(alone["part"]) == [whole]


BATCH, BOXES, DIM = 8, 3, 12


def outputs(dtype="float64"):
  rng = np.random.default_rng(0)
  rows = {"whole": BATCH, "part": BATCH * BOXES}
  found = {
    view: {
      kind: jnp.asarray(rng.normal(size=(count, DIM)) * 0.5, dtype)
      for kind in ("image", "text")
    }
    for view, count in rows.items()
  }
  valid = rng.random(BATCH * BOXES) < 0.6
  valid[:BOXES] = False  # an image without any box
  found["part"]["valid"] = jnp.asarray(valid)
  return found


def of_uncha(contrast, points, curv):
  scales = uncha.Scales(*(jnp.asarray(s, curv.dtype) for s in (14, 16, 20)))
  return uncha.terms(Lorentz(curv), scales, points, contrast)[0]


def of_phyclip(contrast, points, curv):
  space = Product(curv * jnp.array([0.5, 1.0, 2.0], curv.dtype))
  scale = jnp.asarray(14, curv.dtype)
  return hycoclip.terms(space, scale, points, contrast)[0]


LOSSES = {"uncha": of_uncha, "phyclip": of_phyclip}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_devices_and_tiles_share_one_global_mean(name, monkeypatch):
  """Of unequal numbers of boxes; gradients, too, on 1 and 8 devices."""
  monkeypatch.setattr(ring, "TILE", 7 * BATCH)

  def run(contrast, gradients=True):
    def loss(points, curv):
      valid = outputs()["part"]["valid"]
      points = points | {"part": points["part"] | {"valid": valid}}
      return LOSSES[name](contrast, points, curv)

    function = jax.value_and_grad(loss, (0, 1)) if gradients else loss
    return jax.jit(function)(points, jnp.float64(0.8))

  def equal(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)

  with jax.enable_x64(True):
    points = outputs()
    del points["part"]["valid"]
    wanted = run(contrastive.cross_entropy)
    for devices in (1, 2, 4, 8):
      contrast = functools.partial(tiled.cross_entropy, meshes.mesh(devices))
      if devices in (1, 8):
        jax.tree.map(equal, run(contrast), wanted)
      else:
        equal(run(contrast, gradients=False), wanted[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_no_box_at_all_is_finite_and_order_does_not_matter(name):
  points = outputs("float32")

  def loss(points, valid, curv):
    points = points | {"part": points["part"] | {"valid": valid}}
    return LOSSES[name](contrastive.cross_entropy, points, curv)

  function = jax.jit(jax.value_and_grad(loss, (0, 2), allow_int=True))
  valid, curv = points["part"].pop("valid"), jnp.float32(1)
  none = function(points, jnp.zeros_like(valid), curv)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(none))
  found, _ = function(points, valid, curv)
  order = np.arange(BATCH * BOXES).reshape(BATCH, BOXES)[:, ::-1].ravel()
  turned = {k: v[order] for k, v in points["part"].items()}
  again, _ = function(points | {"part": turned}, valid[order], curv)
  np.testing.assert_allclose(again, found, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("radius", [0.0, 1e-6, 0.1, 4.0, 8.0])
def test_gradients_are_finite_at_the_edges(name, radius):
  points = outputs("float32")
  valid = points["part"].pop("valid")
  points = jax.tree.map(
    lambda x: Lorentz(1.0).lift(
      radius * x / (1e-9 + jnp.linalg.norm(x, axis=1, keepdims=True))
    ),
    points,
  )
  same = jnp.repeat(points["whole"]["text"], BOXES, axis=0)
  points["part"]["text"] = points["part"]["text"].at[3:6].set(same[3:6])

  def loss(points, curv):
    points = points | {"part": points["part"] | {"valid": valid}}
    return LOSSES[name](contrastive.cross_entropy, points, curv)

  found = jax.jit(jax.value_and_grad(loss, (0, 1)))(points, jnp.float32(1))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_memory_is_linear_in_the_batch(name):
  """Of the contrast and its gradients, 32,768 rows 512 wide, one device."""
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(1))

  def loss(points, curv):
    if name == "phyclip":
      space = Product(jnp.repeat(curv, 64))
      scale = jnp.float32(14)
      return hycoclip.terms(space, scale, points, contrast)[1][
        "contrastive_loss"
      ]
    scales = uncha.Scales(*map(jnp.float32, (14, 16, 20)))
    return sum(
      uncha.contrasts(Lorentz(curv), scales, points, contrast).values()
    )

  rows = jax.ShapeDtypeStruct((2**15, 512), jnp.float32)
  views = {k: {"image": rows, "text": rows} for k in ("whole", "part")}
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(views, scalar)
  assert lowered.compile().memory_analysis().temp_size_in_bytes < 2e9


# The last one: what comes after `optimized` in a module is optimized, too.
@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion", "optimized")
def test_phyclip_of_one_factor_is_hycoclip_bit_for_bit(tmp_path):
  one = small.config("phyclip")
  one.model.factor_width = one.model.embed_dim
  found = first_losses(one, tmp_path / "one")
  assert found == first_losses(small.config("hycoclip"), tmp_path / "plain")
