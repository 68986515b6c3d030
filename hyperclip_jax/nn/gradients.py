"""Cells of oriented gradients: what a drawing has in any style."""

import jax
import jax.numpy as jnp
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
  padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
  dx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  dy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
  squared = dx**2 + dy**2 + 1e-6
  # The double angle has no sign of the gradient.
  cosine, sine = (dx**2 - dy**2) / squared, 2 * dx * dy / squared
  angles = jnp.arange(TURNS, dtype=grey.dtype) * (2 * jnp.pi / TURNS)
  agreement = jax.nn.relu(
    cosine[..., None] * jnp.cos(angles)[None, None, None]
    + sine[..., None] * jnp.sin(angles)[None, None, None]
  )
  strength = _means(jnp.sqrt(squared)[..., None] * agreement**SHARPNESS)
  # The square root has a finite derivative at zero.
  rows = jnp.sqrt(strength + 1e-6) - 1e-3
  level = jnp.mean(rows**2, axis=(1, 2, 3), keepdims=True)
  return jnp.concatenate(
    [rows / jnp.sqrt(level + 1e-6), _means(images_BHWC)], axis=-1
  )


def _means(x: Float[Array, "b h w c"]) -> Float[Array, "b _h _w c"]:
  """Means over cells."""
  b, h, w, c = x.shape
  return jnp.mean(
    x.reshape(b, h // CELL, CELL, w // CELL, CELL, c), axis=(2, 4)
  )
