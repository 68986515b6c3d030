"""Evaluations: small functions of (model, data) that return named numbers.

Every rate (accuracy, recall, precision, ...) is a fraction between 0 and 1.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Model(Protocol):
  """What an evaluation may ask of a model; arrays are float32, one row each.

  `image_size` is the side of the square images that it reads.
  """

  @property
  def hyperbolic(self) -> bool: ...

  @property
  def image_size(self) -> int: ...

  def encode_image(
    self, images: Sequence[Any], lift: bool = True
  ) -> np.ndarray: ...

  def encode_text(
    self, texts: Sequence[str], lift: bool = True
  ) -> np.ndarray: ...

  def lift(self, tangents: np.ndarray) -> np.ndarray: ...

  def similarity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray: ...

  def entailment_score(
    self, general: np.ndarray, specific: np.ndarray
  ) -> np.ndarray: ...

  def distance_to_root(self, x: np.ndarray) -> np.ndarray: ...
