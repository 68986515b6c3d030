"""The tiled contrastive loss is the naive one, in linear memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.losses import contrastive, ring, tiled
from hyperclip_jax.systems import hycoclip
from hyperclip_jax.training import build
from tests import meshes, small

pytestmark = pytest.mark.usefixtures("optimized")

SPACES = {"lorentz": Lorentz, "sphere": lambda curv: Sphere()}
BATCH, DIM = 48, 16


def gradients(contrast, make_space, where=None):
  """Jitted (scalars, x, y) -> loss and all its gradients."""

  def loss(scalars, x, y):
    space, scale = make_space(scalars["curv"]), scalars["logit_scale"]
    return contrast(space, scale, x, y, where)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))


def arguments(dtype, repeats=1, noise=1.0, logit_scale=14.0):
  """Scalars and points of radius 1; every match is at the same distance."""
  rng = np.random.default_rng(0)
  y = rng.normal(size=(BATCH, DIM)) / DIM**0.5
  x = np.repeat(y, repeats, axis=0)
  x = x + noise * rng.normal(size=x.shape) / DIM**0.5
  x[7 * repeats] = y[7]  # a match without a distance
  scalars = {"logit_scale": logit_scale, "curv": 0.7}
  return jax.tree.map(lambda v: jnp.asarray(v, dtype), (scalars, x, y))


def assert_close(found, wanted, tolerance):
  """Relative to the largest entry of each array."""

  def check(found, wanted):
    wanted = np.asarray(wanted)
    atol = tolerance * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)

  jax.tree.map(check, found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_naive(space, repeats, dtype, monkeypatch):
  monkeypatch.setattr(ring, "TILE", 60)  # one to three columns
  make_space = SPACES[space]
  where = jnp.arange(BATCH * repeats) % 5 != 1
  with jax.enable_x64(dtype == "float64"):
    given = arguments(dtype, repeats)
    wanted = gradients(contrastive.cross_entropy, make_space, where)(*given)
    contrast = functools.partial(tiled.cross_entropy, meshes.mesh(2))
    found = gradients(contrast, make_space, where)(*given)
    assert_close(found, wanted, 1e-5 if dtype == "float32" else 1e-10)
  x_grad = found[1][1]
  assert not x_grad[~where].any()
  assert x_grad[where].any(axis=1).sum() >= where.sum() - 1


@pytest.mark.slow
@pytest.mark.parametrize("devices", [(2, 1), (3, 1), (4, 1), (8, 1), (2, 4)])
def test_devices(devices, monkeypatch):
  """Tiles of at most seven columns, which divide no device's share."""
  monkeypatch.setattr(ring, "TILE", 7 * 2 * BATCH)

  def run(*shape):
    contrast = functools.partial(tiled.cross_entropy, meshes.mesh(*shape))
    return gradients(contrast, Lorentz)(*given)

  # In float64, as float32 rounds the small distances of whatever is cut anew.
  with jax.enable_x64(True):
    given = arguments("float64", repeats=2)
    assert_close(run(*devices), run(1), 1e-12)


def test_small_losses_keep_their_digits():
  """Where the naive form, 5e-5 off, takes a softmax near 1 from 1."""
  given = arguments("float32", noise=0.3)
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(1))
  found = jax.device_get(gradients(contrast, Lorentz)(*given))
  assert found[0] < 1e-3
  with jax.enable_x64(True):
    given = jax.tree.map(lambda v: jnp.asarray(np.float64(v)), given)
    naive = gradients(contrastive.cross_entropy, Lorentz)
    # Of exp(-gap), the relative error is the gap's absolute one: some roundings
    # of logits up to 29, 1.7e-6 each.
    assert_close(found, naive(*given), 2e-5)


@pytest.mark.parametrize("logit_scale", [14.0, 1e4])
def test_finite_where_points_coincide(logit_scale):
  scalars, x, y = arguments("float32", logit_scale=logit_scale)
  x, y = x.at[1].set(y[3]).at[2:5].set(0.0), y.at[4:6].set(0.0)
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(2))
  found = gradients(contrast, Lorentz)(scalars, x, y)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def terms(points, scalars, contrast, **masks):
  """HyCoCLIP's loss and terms of four sets of points."""
  kinds = ("image", "text")
  outputs = {
    "whole": dict(zip(kinds, points[:2], strict=True)),
    "part": dict(zip(kinds, points[2:], strict=True)) | masks,
  }
  space = Lorentz(scalars["curv"])
  return hycoclip.terms(space, scalars["logit_scale"], outputs, contrast)


@functools.cache
def hycoclip_gradients(tiles):
  """Jitted (points, scalars, valid) -> loss, terms and all gradients."""
  contrast = contrastive.cross_entropy
  if tiles:
    contrast = functools.partial(tiled.cross_entropy, meshes.mesh(2))

  def loss(points, scalars, valid):
    return terms(points, scalars, contrast, valid=valid)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def hycoclip_batch():
  rng = np.random.default_rng(0)
  counts = (BATCH, BATCH, 2 * BATCH, 2 * BATCH)
  points = [
    jnp.asarray(rng.normal(size=(n, DIM)) / DIM**0.5, jnp.float32)
    for n in counts
  ]
  scalars = {"curv": jnp.float32(0.7), "logit_scale": jnp.float32(14)}
  return points, scalars, jnp.arange(2 * BATCH) % 5 != 1


@pytest.mark.parametrize("filler", [np.inf, np.nan, 1e30])
def test_rows_that_fill_up_may_hold_anything(filler):
  points, scalars, valid = hycoclip_batch()
  filled = points[:2] + [
    jnp.where(valid[:, None], rows, filler) for rows in points[2:]
  ]
  for tiles in (False, True):
    function = hycoclip_gradients(tiles)
    found, wanted = (function(p, scalars, valid) for p in (filled, points))
    assert_close(found, wanted, 1e-6)


def test_gradients_equal_naive_at_the_root_and_on_the_ray():
  """Kinks of the cones: one rule, whatever the compiler makes of the sums."""
  points, scalars, valid = hycoclip_batch()
  image, text, box_image, box_text = points
  image = image.at[3].set(0).at[4].set(2 * text[4]).at[5].set(-text[5])
  box_image = box_image.at[8].set(0.5 * image[4]).at[9].set(0)
  box_text = box_text.at[10].set(text[5]).at[12].set(2 * text[6])
  points = [image, text, box_image, box_text]
  naive, found = (
    hycoclip_gradients(tiles)(points, scalars, valid) for tiles in (False, True)
  )
  assert_close(found, naive, 1e-5)


def test_matches_in_pieces_are_those_at_once(monkeypatch):
  given = arguments("float32", repeats=3)
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(2))
  monkeypatch.setattr(ring, "TILE", 2**12)
  at_once = gradients(contrast, Lorentz)(*given)
  monkeypatch.setattr(ring, "TILE", 60)
  assert_close(gradients(contrast, Lorentz)(*given), at_once, 1e-5)


def test_one_pair_has_no_loss():
  scalars, x, y = arguments("float32")
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(1))
  found = gradients(contrast, Lorentz)(scalars, x[:1], y[:1])
  assert not any(leaf.any() for leaf in jax.tree.leaves(found))


def temporary_bytes(batch):
  """Of HyCoCLIP's contrastive terms and gradients, 512 wide, one device."""
  contrast = functools.partial(tiled.cross_entropy, meshes.mesh(1))

  def loss(points, scalars):
    return terms(points, scalars, contrast)[1]["contrastive_loss"]

  points = jax.ShapeDtypeStruct((batch, 512), jnp.float32)
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  lowered = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(
    [points] * 4, {"curv": scalar, "logit_scale": scalar}
  )
  return lowered.compile().memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_batch():
  at_16k, at_32k = temporary_bytes(16384), temporary_bytes(32768)
  assert at_32k < 2e9  # 103e9 of the naive form
  assert at_32k < 2 * at_16k


@pytest.mark.parametrize("system", ["meru", "clip"])
def test_losses_of_systems_without_parts_equal_naive(system, monkeypatch):
  monkeypatch.setattr(ring, "TILE", 60)
  config = small.config(system)

  def loss_and_gradients(contrast):
    config.model.contrast = contrast
    loss = build.task(config, meshes.mesh(4, 2)).loss

    def of_points(params, x, y):
      return loss(params, {"whole": {"image": x, "text": y}}, jnp.int32(0))

    return jax.jit(jax.value_and_grad(of_points, (0, 1, 2), has_aux=True))(
      params, x, y
    )

  # In float64, as float32 rounds the small distances of either form anew.
  with jax.enable_x64(True):
    scalars, x, y = arguments("float64")
    params = {name: jnp.log(value) for name, value in scalars.items()}
    found, wanted = map(loss_and_gradients, ("tiled", "naive"))
  assert_close(found, wanted, 1e-9)


@pytest.mark.parametrize(
  ("batch", "devices", "tiles"),
  [(16, 1, False), (4096, 1, True), (4096, 8, False), (2**15, 8, True)],
)
def test_auto_goes_by_the_logits_of_a_device(
  batch, devices, tiles, monkeypatch
):
  used = []
  monkeypatch.setattr(tiled, "cross_entropy", lambda *_: used.append("tiled"))
  monkeypatch.setattr(
    contrastive, "cross_entropy", lambda *_: used.append("naive")
  )
  points = np.broadcast_to(np.float32(0), (batch, DIM))
  tiled.on(meshes.mesh(devices))(Sphere(), 1.0, points, points)
  for how in ("naive", "tiled"):
    tiled.on(meshes.mesh(devices), how)(Sphere(), 1.0, points, points)
  assert used == ["tiled" if tiles else "naive", "naive", "tiled"]
