"""A model whose embeddings are written down, so that answers are known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import lorentz


@dataclasses.dataclass
class FakeModel:
  """Texts are looked up in a table; an image is the colour of its corner."""

  hyperbolic: bool
  curv: float
  table: dict[str, tuple[float, ...]]
  image_size: int = 8

  def encode_text(self, texts, lift=True):
    features = np.array([self.table[text] for text in texts], np.float32)
    return self.lift(features) if lift else features

  def encode_image(self, images, lift=True):
    features = np.array([image[0, 0] for image in images], np.float32) / 255
    return self.lift(features) if lift else features

  def lift(self, v):
    norm = np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    if not self.hyperbolic:
      return v / norm
    return v * (np.sinh(self.curv**0.5 * norm) / (self.curv**0.5 * norm))

  def similarity(self, a, b):
    return a @ b.T - self._time(a)[:, None] * self._time(b)

  def entailment_score(self, general, specific):
    if not self.hyperbolic:
      return -np.sum(general * specific, axis=-1)
    apex, point = jnp.asarray(general), jnp.asarray(specific)
    angle = lorentz.exterior_angle(apex, point, self.curv)
    return np.asarray(angle - lorentz.half_aperture(apex, self.curv))

  def distance_to_root(self, x):
    if self.hyperbolic:
      norm = np.linalg.norm(x, axis=-1)
      return np.arcsinh(self.curv**0.5 * norm) / self.curv**0.5
    mean = x.mean(axis=0)
    return 1 - x @ mean / np.linalg.norm(mean)

  def _time(self, x):
    if not self.hyperbolic:
      return np.zeros(len(x), np.float32)
    return np.sqrt(1 / self.curv + np.sum(x**2, axis=-1))


@pytest.fixture
def make_model():
  """make_model(hyperbolic, table, curv) -> FakeModel."""

  def make(hyperbolic=True, table=None, curv=1.0):
    return FakeModel(hyperbolic, curv, table or {})

  return make
