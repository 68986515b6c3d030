"""Floating-point operations of the towers' matmuls, two for a multiply-add."""

from hyperclip_jax.nn import gradients
from hyperclip_jax.systems.dual_encoder import Options


def transformer(width: int, depth: int, length: int) -> int:
  """Counts the forward pass of one sequence; attention in full, not halved.

  Args:
    width: width of the transformer.
    depth: number of blocks.
    length: number of tokens.

  Returns:
    Number of operations.
  """
  return depth * (24 * length * width**2 + 4 * length**2 * width)


def image(o: Options) -> int:
  """Counts the forward pass of one image, without the sums of cells."""
  vision = o.vision
  inputs = 3 * vision.patch**2
  if vision.stem == "gradients":
    inputs = gradients.CHANNELS * (vision.patch // gradients.CELL) ** 2
  patches = (o.image_size // vision.patch) ** 2
  return (
    2 * patches * inputs * vision.width
    + transformer(vision.width, vision.depth, patches + 1)
    + 2 * vision.width * o.embed_dim
  )


def text(o: Options, length: int) -> int:
  """Counts the forward pass of one text.

  Args:
    o: sizes of the towers.
    length: number of tokens.

  Returns:
    Number of operations.
  """
  tower = o.text
  return (
    transformer(tower.width, tower.depth, length)
    + 2 * tower.width * o.embed_dim
  )


def train_step(o: Options, text_lengths: list[int], batch_size: int) -> int:
  """Counts one update; a backward pass costs twice its forward pass.

  Args:
    o: sizes of the towers.
    text_lengths: padded length of each text of an example; each has an image.
    batch_size: number of examples.

  Returns:
    Number of operations.
  """
  forward = sum(image(o) + text(o, length) for length in text_lengths)
  return 3 * batch_size * forward
