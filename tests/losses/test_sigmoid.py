"""The sigmoid loss of pairs: in tiles and on any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.losses import ring, sigmoid
from tests import meshes

BATCH, DIM = 48, 8


def arguments(dtype):
  rng = np.random.default_rng(0)
  mean = rng.normal(size=(2, BATCH, DIM))
  mean[1] = mean[0] + 0.5 * mean[1]
  mean /= np.linalg.norm(mean, axis=2, keepdims=True)
  x, y = gaussian.join(mean, rng.uniform(-4, 0, (2, BATCH, DIM)))
  scalars = {"scale": 9.0, "bias": -4.0, "curv": 0.7}
  return jax.tree.map(lambda v: jnp.asarray(v, dtype), (scalars, x, y))


def gradients(pairs, space):
  """Jitted (scalars, x, y) -> loss and all its gradients."""

  def loss(scalars, x, y):
    where = space(scalars["curv"])
    return pairs(where, scalars["scale"], scalars["bias"], x, y)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))


def assert_close(found, wanted, tolerance):
  """Relative to the largest entry of each array."""

  def check(found, wanted):
    wanted = np.asarray(wanted)
    atol = tolerance * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)

  jax.tree.map(check, jax.device_get(found), jax.device_get(wanted))


SPACES = {"gaussian": lambda _: Gaussian(), "lorentz": Lorentz}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("devices", [(1, 1), (2, 1), (4, 1), (8, 1), (2, 4)])
def test_tiles_on_any_number_of_devices_equal_naive(
  space, devices, monkeypatch
):
  monkeypatch.setattr(ring, "TILE", 7 * BATCH // 2)  # divides no share
  with jax.enable_x64(True):
    given = arguments("float64")
    wanted = gradients(sigmoid.pairs, SPACES[space])(*given)
    pairs = functools.partial(sigmoid.tiled_pairs, meshes.mesh(*devices))
    found = gradients(pairs, SPACES[space])(*given)
    assert_close(found, wanted, 1e-12)


def test_the_definition():
  with jax.enable_x64(True):
    _, x, y = arguments("float64")
    found = sigmoid.pairs(Gaussian(), 9.0, -4.0, x, y)
  x, y = np.asarray(x), np.asarray(y)
  u = [np.exp(rows[:, DIM:]).sum(1) for rows in (x, y)]
  near = x[:, :DIM] @ y[:, :DIM].T - (u[0][:, None] + u[1]) / 2
  signs = 2 * np.eye(BATCH) - 1
  wanted = np.log1p(np.exp(-signs * (9 * near - 4))).sum() / BATCH
  np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_large_logits_are_finite():
  scalars, x, y = arguments("float32")
  scalars["scale"] = jnp.float32(1e6)
  for pairs in (
    sigmoid.pairs,
    functools.partial(sigmoid.tiled_pairs, meshes.mesh(2)),
  ):
    found = gradients(pairs, SPACES["gaussian"])(scalars, x, y)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def temporary_bytes(batch):
  """Of the loss and its gradients, 512 wide, on one device."""
  pairs = functools.partial(sigmoid.tiled_pairs, meshes.mesh(1))
  points = jax.ShapeDtypeStruct((batch, 512), jnp.float32)
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  lowered = gradients(pairs, SPACES["gaussian"]).lower(
    dict.fromkeys(("scale", "bias", "curv"), scalar), points, points
  )
  return lowered.compile().memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_batch():
  at_16k, at_32k = temporary_bytes(16384), temporary_bytes(32768)
  assert at_32k < 1e9
  assert at_32k < 2.1 * at_16k


@pytest.mark.parametrize(
  ("batch", "devices", "tiles"),
  [(16, 1, False), (4096, 1, True), (4096, 8, False), (2**15, 8, True)],
)
def test_auto_goes_by_the_logits_of_a_device(
  batch, devices, tiles, monkeypatch
):
  used = []
  monkeypatch.setattr(sigmoid, "tiled_pairs", lambda *_: used.append("tiled"))
  monkeypatch.setattr(sigmoid, "pairs", lambda *_: used.append("naive"))
  points = np.broadcast_to(np.float32(0), (batch, DIM))
  for how in ("auto", "naive", "tiled"):
    sigmoid.on(meshes.mesh(devices), how)(Gaussian(), 1.0, 0.0, points, points)
  assert used == ["tiled" if tiles else "naive", "naive", "tiled"]
