"""The interface of a trained model to evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hyperclip_jax.geometry.spaces import Space


@runtime_checkable
class Model(Protocol):
  """Interface of a model to evaluations, which `HyperCLIP` implements.

  Embeddings are float32, one row each. `similarity` and `probabilities` are
  float64, since float32 ranks neighbours far from the root in a wrong order.
  """

  @property
  def image_size(self) -> int:
    """Side of an image in pixels."""
    ...

  @property
  def classes(self) -> Sequence[str]:
    """Classes that the model was trained to tell apart, if it was."""
    ...

  @property
  def parents(self) -> Mapping[str, tuple[str, ...]]:
    """Hierarchy of the classes, node -> its parents, if they have one."""
    ...

  @property
  def space(self) -> Space:
    """Space of the embeddings."""
    ...

  def encode_image(
    self, images: Sequence[Any], lift: bool = True
  ) -> np.ndarray:
    """Embeds images.

    Args:
      images: uint8 arrays (height, width, 3).
      lift: False returns tangent vectors at the root (CLIP: raw features).

    Returns:
      Rows (n, dim) float32.
    """
    ...

  def encode_text(self, texts: Sequence[str], lift: bool = True) -> np.ndarray:
    """Embeds texts.

    Args:
      texts: strings.
      lift: False returns tangent vectors at the root (CLIP: raw features).

    Returns:
      Rows (n, dim) float32.
    """
    ...

  def lift(self, tangents: np.ndarray) -> np.ndarray:
    """Lifts tangent vectors at the root (CLIP: raw features) onto the space."""
    ...

  def similarity(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Computes the similarity of all pairs.

    Args:
      x: embeddings (n, dim).
      y: embeddings (m, dim).

    Returns:
      Scores (n, m) float64; higher is nearer.
    """
    ...

  def probabilities(
    self, images: np.ndarray, classes: np.ndarray
  ) -> np.ndarray:
    """Computes the trained softmax of images over classes.

    Args:
      images: embeddings (n, dim).
      classes: embeddings (m, dim).

    Returns:
      Probabilities (n, m) float64; rows sum to 1.
    """
    ...

  def entailment_score(
    self, general: np.ndarray, specific: np.ndarray
  ) -> np.ndarray:
    """Scores row by row whether general points entail specific ones.

    Args:
      general: embeddings (n, dim), or one row.
      specific: embeddings (n, dim), or one row.

    Returns:
      Scores (n,) float32, lower for a clearer yes.
    """
    ...

  def distance_to_root(
    self, x: np.ndarray, root: np.ndarray | None = None
  ) -> np.ndarray:
    """Computes distances to the root.

    Args:
      x: embeddings (n, dim).
      root: embedding (dim,); None for the root of the model.

    Returns:
      Distances (n,) float32.
    """
    ...
