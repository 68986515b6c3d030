"""Cells of oriented gradients, and image towers made of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import hyperclip_jax
from hyperclip_jax.checkpoints import torch_checkpoint
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.nn import gradients
from hyperclip_jax.systems import clip
from hyperclip_jax.systems.dual_encoder import Text, Vision

TURNS = gradients.TURNS
OPTIONS = clip.Options(
  image_size=32,
  vision=Vision(width=16, depth=1, heads=2, patch=16, stem="gradients"),
  text=Text(width=16, depth=1, heads=2, vocab=512, context=8),
  embed_dim=8,
  dtype="float32",
)


def images(seed, batch=2, height=16, width=24):
  shape = (batch, height, width, 3)
  return np.random.default_rng(seed).random(shape, np.float32)


def naive(image):
  """The orientations by angles, cell by cell."""
  grey = np.pad(image.mean(axis=-1), 1, mode="edge").astype(np.float64)
  dx = (grey[:, 2:] - grey[:, :-2])[1:-1]
  dy = (grey[2:] - grey[:-2])[:, 1:-1]
  centres = np.arange(TURNS) * np.pi / TURNS
  found = np.zeros((image.shape[0] // 8, image.shape[1] // 8, TURNS))
  for y, x in np.ndindex(dx.shape):
    angle = np.arctan2(dy[y, x], dx[y, x])
    agreement = np.maximum(np.cos(2 * (angle - centres)), 0) ** 3
    found[y // 8, x // 8] += np.hypot(dx[y, x], dy[y, x]) * agreement / 64
  rows = np.sqrt(found)
  return rows / np.sqrt(np.mean(rows**2))


def test_cells_are_histograms_of_angles_and_mean_colours():
  x = images(0)
  found = gradients.cells(jnp.asarray(x))
  assert found.shape == (2, 2, 3, gradients.CHANNELS)
  for row, image in zip(found, x, strict=True):
    # The constants that keep the square roots smooth are about 1e-3.
    np.testing.assert_allclose(row[..., :TURNS], naive(image), atol=0.01)
    colours = image.reshape(2, 8, 3, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(row[..., TURNS:], colours, rtol=1e-5)


@settings(deadline=None)
@given(
  st.integers(0, 999),
  st.floats(0.3, 3).map(np.float32),
  st.floats(-1, 1).map(np.float32),
  st.sampled_from((1, -1)),
)
def test_contrast_brightness_and_negatives_leave_orientations(
  seed, contrast, brightness, sign
):
  x = images(seed)
  before, after = (
    gradients.cells(jnp.asarray(y))[..., :TURNS]
    for y in (x, sign * contrast * x + brightness)
  )
  np.testing.assert_allclose(before, after, atol=0.02)
  np.testing.assert_allclose(jnp.mean(before**2, axis=(1, 2, 3)), 1, rtol=1e-3)


def test_a_quarter_turn_moves_cells_and_orientations():
  x = images(1, height=16, width=16)
  before = np.asarray(gradients.cells(jnp.asarray(x)))
  turned = np.rot90(x, axes=(1, 2)).copy()
  after = np.asarray(gradients.cells(jnp.asarray(turned)))
  wanted = np.rot90(before, axes=(1, 2))
  orientations = np.roll(wanted[..., :TURNS], TURNS // 2, axis=-1)
  np.testing.assert_allclose(after[..., :TURNS], orientations, atol=1e-4)
  np.testing.assert_allclose(after[..., TURNS:], wanted[..., TURNS:], atol=1e-5)


@settings(deadline=None)
@given(
  arrays.arrays(
    np.float32, (1, 8, 8, 3), elements=st.sampled_from((0, 1, 1e-20, -3))
  )
)
def test_gradients_are_finite(x):
  def total(x):
    return jnp.sum(gradients.cells(x) ** 2)

  assert np.isfinite(gradients.cells(jnp.asarray(x))).all()
  slope = jax.grad(total)
  assert np.isfinite(slope(x)).all()
  curvature = jax.grad(lambda x: jnp.sum(slope(x) ** 2))
  assert np.isfinite(curvature(x)).all()


def test_an_image_of_one_colour_has_no_orientation():
  found = gradients.cells(jnp.full((1, 16, 16, 3), 0.4))
  np.testing.assert_allclose(found[..., :TURNS], 0, atol=1e-6)
  np.testing.assert_allclose(found[..., TURNS:], 0.4, rtol=1e-6)


def test_a_tower_of_gradients():
  encoder = clip.encoder(OPTIONS)
  variables = encoder.init(jax.random.key(0))
  kernel = variables["params"]["vision"]["patch_embed"]["kernel"]
  assert kernel.shape == (2 * 2 * gradients.CHANNELS, 16)
  x = images(2, height=32, width=32)
  rows = encoder.image(variables, jnp.asarray(x))
  assert rows.shape == (2, 8)
  assert not np.allclose(rows[0], rows[1])
  with pytest.raises(
    ValueError, match=r"patch of 16 pixels .* save_pretrained"
  ):
    torch_checkpoint.tensors(Release("clip", OPTIONS, variables))


def test_patches_are_whole_cells():
  with pytest.raises(ValueError, match=r"multiple of the 8 pixels .* found 4"):
    dataclasses.replace(OPTIONS.vision, patch=4)
  assert str(OPTIONS.vision) == "1 layer of 16, patches of 16 px as gradients"
  tower = hyperclip_jax.load("emoji-mini").summary()
  assert "3 layers of 128, patches of 64 px as gradients" in tower
