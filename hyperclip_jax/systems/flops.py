"""Floating-point operations of the matmuls, two a multiply-add."""

from hyperclip_jax.systems.dual_encoder import DualEncoder


def transformer(width: int, depth: int, length: int) -> int:
  """Forward pass of one sequence; attention counted in full, not halved."""
  return depth * (24 * length * width**2 + 4 * length**2 * width)


def image(model: DualEncoder, image_size: int) -> int:
  """Forward pass of one image."""
  vision = model.vision
  patches = (image_size // vision.patch) ** 2
  return (
    2 * patches * 3 * vision.patch**2 * vision.width
    + transformer(vision.width, vision.depth, patches + 1)
    + 2 * vision.width * model.embed_dim
  )


def text(model: DualEncoder, length: int) -> int:
  """Forward pass of one text cut to `length` tokens."""
  tower = model.text
  return (
    transformer(tower.width, tower.depth, length)
    + 2 * tower.width * model.embed_dim
  )


def train_step(
  model: DualEncoder,
  image_size: int,
  text_lengths: list[int],
  batch_size: int,
) -> int:
  """One update: a backward pass costs twice its forward pass.

  Args:
    model: the towers.
    image_size: side of the images.
    text_lengths: padded lengths of each text of an example; each has an image.
    batch_size: examples.
  """
  forward = sum(
    image(model, image_size) + text(model, length) for length in text_lengths
  )
  return 3 * batch_size * forward
