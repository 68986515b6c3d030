"""A trained model to use: encode, compare, and ask what entails what."""

import functools
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from hyperclip_jax import release
from hyperclip_jax.data import images as image_lib
from hyperclip_jax.data.tokenizer import Tokenizer, cut
from hyperclip_jax.geometry import lorentz
from hyperclip_jax.interop import hub
from hyperclip_jax.models.dual_encoder import DualEncoder

AnyImage = str | pathlib.Path | Image.Image | np.ndarray
Embeddings = Float[np.ndarray, "n dim"]

TEXT_LENGTHS = (8, 16, 24, 32)  # and the context


class HyperCLIP:
  """CLIP, MERU or HyCoCLIP with its parameters, for inference.

  Embeddings are float32 numpy arrays (n, dim): space components of points on
  the hyperboloid, or unit vectors for CLIP.

  Attributes:
    name: "hycoclip", "meru" or "clip".
    model: the Flax module.
    params: its parameters.
    image_size: side of the square the image tower reads.
    hyperbolic: whether embeddings live on a hyperboloid.
    curv: its curvature is -curv; 1.0 where not hyperbolic.
  """

  def __init__(
    self,
    name: str,
    model: DualEncoder,
    params: Any,
    image_size: int,
    batch_size: int = 64,
  ):
    self.name = name
    self.model: Any = model
    self.params = jax.device_put(params, jax.local_devices()[0])
    self.image_size = image_size
    self.hyperbolic = model.hyperbolic
    self.curv = float(jnp.exp(params["curv"])) if model.hyperbolic else 1.0
    self._batch_size = batch_size
    self._tokenizer = Tokenizer(model.text.vocab)

  def encode_image(
    self, images: AnyImage | Sequence[AnyImage], lift: bool = True
  ) -> Embeddings:
    """Embeds images: paths, PIL images or uint8 arrays (h, w, 3).

    The short side is resized to the model's size, the centre cropped.

    Args:
      images: one or many.
      lift: False gives tangent vectors at the root (CLIP: raw features), to
        average several before `lift`.
    """
    if isinstance(images, AnyImage):
      images = [images]

    def pixels(batch):
      squares = (
        image_lib.center_square(_pixels(image), self.image_size)
        for image in batch
      )
      return np.stack(list(squares))

    return self._encode(images, pixels, "encode_image", lift)

  def encode_text(
    self, texts: str | Sequence[str], lift: bool = True
  ) -> Embeddings:
    """Embeds texts; arguments as for `encode_image`."""
    texts = [texts] if isinstance(texts, str) else texts
    context = self.model.text.context

    def tokens(batch):
      lengths = [n for n in TEXT_LENGTHS if n < context]
      return cut(self._tokenizer(batch, context), [*lengths, context])

    return self._encode(texts, tokens, "encode_text", lift)

  def lift(self, tangents: Embeddings) -> Embeddings:
    """Tangent vectors at the root -> embeddings."""
    return np.asarray(_apply(self.model, "lift")(self.params, tangents))

  def similarity(
    self, x: Embeddings, y: Float[np.ndarray, "m dim"]
  ) -> Float[np.ndarray, "n m"]:
    """Higher is nearer: Lorentz inner product, or cosine for CLIP."""
    if self.hyperbolic:
      inner = lorentz.pairwise_inner(jnp.asarray(x), jnp.asarray(y), self.curv)
      return np.asarray(inner)
    return x @ y.T

  def entailment_score(
    self, general: Embeddings, specific: Embeddings
  ) -> Float[np.ndarray, " n"]:
    """Row by row: does `general` entail `specific`? Lower is a clearer yes.

    The exterior angle minus the half aperture in radians: at most zero where
    the specific point lies in the general one's cone. CLIP has no cones; its
    score is minus the cosine.
    """
    if self.hyperbolic:
      apex, point = jnp.asarray(general), jnp.asarray(specific)
      angle = lorentz.exterior_angle(apex, point, self.curv)
      return np.asarray(angle - lorentz.half_aperture(apex, self.curv))
    return -np.sum(general * specific, axis=-1)

  def distance_to_root(self, x: Embeddings) -> Float[np.ndarray, " n"]:
    """Geodesic distance; for CLIP the cosine distance to the mean of `x`."""
    if self.hyperbolic:
      return np.asarray(lorentz.dist0(jnp.asarray(x), self.curv))
    mean = np.mean(x, axis=0)
    return 1 - x @ (mean / max(float(np.linalg.norm(mean)), 1e-12))

  def save_pretrained(self, folder: str | pathlib.Path) -> None:
    """Writes `config.json` and `model.safetensors`, which `load` takes.

    Raises:
      FileExistsError: the folder holds another kind of config.json.
    """
    shared = release.Release(
      self.name, self.model, self.params, self.image_size
    )
    release.write(pathlib.Path(folder), shared)

  def push_to_hub(self, repository: str, private: bool = False) -> None:
    """Uploads what `save_pretrained` writes to the Hugging Face hub.

    Args:
      repository: "org/name"; `load("hf-hub:org/name")` takes it then.
      private: for a repository that is made here.

    Raises:
      ImportError: the extra `hub` is missing.
      OSError: the hub refuses it, or there is no way to it.
    """
    with tempfile.TemporaryDirectory() as folder:
      self.save_pretrained(folder)
      hub.upload(repository, folder, private)

  def _encode(
    self,
    items: Sequence[Any],
    to_array: Callable[[Sequence[Any]], np.ndarray],
    method: str,
    lift: bool,
  ) -> Embeddings:
    """Batches of one size, the last one padded, so that nothing recompiles."""
    if not len(items):
      return np.zeros((0, self.model.embed_dim), np.float32)
    parts = []
    for start in range(0, len(items), self._batch_size):
      rows = to_array(items[start : start + self._batch_size])
      padding = [(0, self._batch_size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
      out = _apply(self.model, method)(self.params, np.pad(rows, padding))
      parts.append(np.asarray(out)[: len(rows)])
    tangents = np.concatenate(parts)
    return self.lift(tangents) if lift else tangents


def _pixels(image: AnyImage) -> np.ndarray:
  if isinstance(image, np.ndarray):
    return image
  if isinstance(image, Image.Image):
    return np.asarray(image.convert("RGB"))
  return image_lib.decode(pathlib.Path(image).read_bytes())


@functools.cache
def _apply(model: Any, method: str) -> Callable[..., jax.Array]:
  """One jitted function a model and method; uint8 pixels become [0, 1]."""

  def apply(params, x):
    if x.dtype == jnp.uint8:
      x = x.astype(jnp.float32) / 255
    return model.apply({"params": params}, x, method=method)

  return jax.jit(apply)
