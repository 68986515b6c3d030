"""What the towers of a model get: square pixels, and rows of token ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from hyperclip_jax.data.feed.tokenizer import AnyTokenizer
from hyperclip_jax.data.records.images import center_square
from hyperclip_jax.inference import inputs


class Preprocess:
  """Resizes the short side of images, and crops the centre.

  Attributes:
    image_size: side of the result in pixels.
  """

  def __init__(self, image_size: int):
    self.image_size = image_size

  def __repr__(self) -> str:
    return f"Preprocess(image_size={self.image_size})"

  def __call__(
    self, images: inputs.Images
  ) -> UInt8[np.ndarray, "n side side 3"]:
    """Makes the pixels that `encode_image` gives to the tower.

    The tower subtracts the mean of the pixels and divides by their standard
    deviation itself.

    Args:
      images: images, as for `HyperCLIP.encode_image`.

    Returns:
      Pixels, one square per image; `encode_image` takes them as well.

    Raises:
      TypeError, ValueError, OSError: as of `encode_image`.

    Examples:
      >>> Preprocess(32)(np.zeros((48, 64, 3), np.uint8)).shape
      (1, 32, 32, 3)
    """
    side = self.image_size
    squares = [
      center_square(inputs.pixels(image), side)
      for image in inputs.images(images)
    ]
    return np.array(squares, np.uint8).reshape(-1, side, side, 3)


class Tokenize:
  """Converts texts to rows of token ids.

  Attributes:
    context: length of a row; longer texts are cut and keep the end token.
  """

  def __init__(self, tokenizer: AnyTokenizer, context: int):
    self._tokenizer, self.context = tokenizer, context

  def __repr__(self) -> str:
    kind = type(self._tokenizer).__name__
    return f"Tokenize({kind}, context={self.context})"

  def __call__(self, texts: inputs.Texts) -> Int32[np.ndarray, "n context"]:
    """Makes token ids, padded on the right.

    Args:
      texts: a string or a list of strings.

    Returns:
      Token ids, one row per text.

    Raises:
      TypeError: a text is of another type; the message names it.
    """
    return self._tokenizer(inputs.texts(texts), self.context)

  def lengths(self, texts: inputs.Texts) -> Int64[np.ndarray, " n"]:
    """Counts the tokens of texts, including what starts and ends them."""
    return self._tokenizer.lengths(inputs.texts(texts))

  def decode(self, ids: Sequence[int] | Any) -> str:
    """Reads the text of one row back."""
    return self._tokenizer.decode(ids)
