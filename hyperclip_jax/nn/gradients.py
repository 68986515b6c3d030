"""Cells of oriented gradients: what a drawing has in any style."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CELL = 8  # side of a cell in pixels
TURNS = 8  # orientations, evenly over half a turn
CHANNELS = TURNS + 3
SHARPNESS = 3  # an edge counts by this power of its agreement


def cells(
  images_BHWC: Float[Array, "b h w 3"],
) -> Float[Array, "b h//8 w//8 11"]:
  """Sums up each cell of 8 x 8 pixels: oriented gradients, and mean colour.

  Orientations are those of the gradient of the mean of the colours, without
  sign. Their square roots have root mean square 1 over an image, whatever its
  contrast (after Dalal and Triggs, 2005, with soft bins and whole images as
  blocks). An image of one colour has zeros.

  Args:
    images_BHWC: pixels, normalised or not; h and w are multiples of 8.

  Returns:
    Eight orientations (edges that run vertically, then clockwise as seen) and
    the mean of each colour.

  Examples:
    >>> stripes = jnp.tile(jnp.arange(16) // 4 % 2, (1, 16, 1)) * 1.0
    >>> found = cells(jnp.stack([stripes] * 3, axis=-1))
    >>> found.shape, int(found[0, 0, 0, :8].argmax())
    ((1, 2, 2, 11), 0)
  """
  grey = jnp.mean(images_BHWC, axis=-1)
  # What lies beyond an edge is as the pixels at it.
  dx = jnp.concatenate([grey[:, :, 1:], grey[:, :, -1:]], axis=2)
  dx -= jnp.concatenate([grey[:, :, :1], grey[:, :, :-1]], axis=2)
  dy = jnp.concatenate([grey[:, 1:], grey[:, -1:]], axis=1)
  dy -= jnp.concatenate([grey[:, :1], grey[:, :-1]], axis=1)
  squared = dx**2 + dy**2 + 1e-6
  # The double angle has no sign of the gradient; its vector is as long as the
  # cube root of the gradient.
  shrink = squared ** (1 / (2 * SHARPNESS) - 1)
  cosine, sine = (dx**2 - dy**2) * shrink, 2 * dx * dy * shrink
  # Orientations stand before the pixels, which XLA's CPU is faster with.
  angles_1T11 = np.arange(TURNS).reshape(1, -1, 1, 1) * (2 * np.pi / TURNS)
  agreement_BTHW = jnp.maximum(
    cosine[:, None] * jnp.asarray(np.cos(angles_1T11), grey.dtype)
    + sine[:, None] * jnp.asarray(np.sin(angles_1T11), grey.dtype),
    0,
  )
  strength = _means(agreement_BTHW**SHARPNESS).transpose(0, 2, 3, 1)
  # The square root has a finite derivative at zero.
  rows = jnp.sqrt(strength + 1e-6) - 1e-3
  level = jnp.mean(rows**2, axis=(1, 2, 3), keepdims=True)
  colours = _means(images_BHWC.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
  return jnp.concatenate([rows / jnp.sqrt(level + 1e-6), colours], axis=-1)


def _means(x_BCHW: Float[Array, "b c h w"]) -> Float[Array, "b c _h _w"]:
  """Means over cells."""
  b, c, h, w = x_BCHW.shape
  return jnp.mean(
    x_BCHW.reshape(b, c, h // CELL, CELL, w // CELL, CELL), axis=(3, 5)
  )
