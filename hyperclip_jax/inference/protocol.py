"""What others may ask of a trained model."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hyperclip_jax.geometry.spaces import Space


@runtime_checkable
class Model(Protocol):
  """What an evaluation may ask of a model, as `HyperCLIP` answers it.

  Embeddings are float32, one row each. `similarity` and `probabilities` are
  float64: far from the root float32 would put neighbours in a wrong order.

  `image_size` is the side of the square images that it reads, and `space` is
  where its embeddings live.
  """

  @property
  def image_size(self) -> int: ...

  @property
  def space(self) -> Space: ...

  def encode_image(
    self, images: Sequence[Any], lift: bool = True
  ) -> np.ndarray:
    """Embeddings of uint8 images (height, width, 3), or tangents of them."""
    ...

  def encode_text(self, texts: Sequence[str], lift: bool = True) -> np.ndarray:
    """Embeddings of texts, or tangents of them."""
    ...

  def lift(self, tangents: np.ndarray) -> np.ndarray:
    """Tangent vectors at the root (CLIP: raw features) to embeddings."""
    ...

  def similarity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scores (n, m) of all pairs; higher is nearer."""
    ...

  def probabilities(
    self, images: np.ndarray, classes: np.ndarray
  ) -> np.ndarray:
    """The trained softmax (n, m) of images over classes."""
    ...

  def entailment_score(
    self, general: np.ndarray, specific: np.ndarray
  ) -> np.ndarray:
    """Row by row (n,); lower is a clearer yes."""
    ...

  def distance_to_root(
    self, x: np.ndarray, root: np.ndarray | None = None
  ) -> np.ndarray:
    """Distances (n,) to one embedding (dim,); None is the model's own root."""
    ...
