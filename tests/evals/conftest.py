"""A model whose embeddings are written down, so that answers are known."""

import dataclasses

import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Space, Sphere
from hyperclip_jax.inference import classify


@dataclasses.dataclass
class FakeModel:
  """Texts are looked up in a table; an image is the colour of its corner."""

  space: Space
  table: dict[str, tuple[float, ...]]
  image_size: int = 8
  logit_scale: float = 100.0
  classes: tuple[str, ...] = ()
  parents: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  def encode_text(self, texts, lift=True):
    features = np.array([self.table[text] for text in texts], np.float32)
    return self.lift(features) if lift else features

  def encode_image(self, images, lift=True):
    features = np.array([image[0, 0] for image in images], np.float32) / 255
    return self.lift(features) if lift else features

  def lift(self, v):
    return self.space.lift(v).astype(np.float32)

  def similarity(self, x, y):
    return self.space.similarity(x, y)

  def probabilities(self, images, classes):
    nearness = self.space.pairwise(images, classes)
    return classify.softmax(self.logit_scale * nearness)

  def entailment_score(self, general, specific):
    return self.space.entailment_score(general, specific).astype(np.float32)

  def distance_to_root(self, x, root=None):
    root = self.space.root(x[:0]) if root is None else root
    return self.space.distance(x, root[None]).astype(np.float32)


@pytest.fixture
def make_model():
  """make_model(hyperbolic, table, curv) -> FakeModel."""

  def make(hyperbolic=True, table=None, curv=1.0):
    return FakeModel(Lorentz(curv) if hyperbolic else Sphere(), table or {})

  return make
