"""A trained model to use: encode, compare, and ask what entails what."""

import functools
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from hyperclip_jax import classification, release, walk
from hyperclip_jax.classification import Classification
from hyperclip_jax.data import images as image_lib
from hyperclip_jax.data.tokenizer import Tokenizer, cut
from hyperclip_jax.evals import encoding, traversal
from hyperclip_jax.evals.zero_shot import class_embeddings
from hyperclip_jax.geometry import lorentz
from hyperclip_jax.interop import hub
from hyperclip_jax.models.dual_encoder import DualEncoder
from hyperclip_jax.progress import bar
from hyperclip_jax.search import Hit, Index

AnyImage = str | pathlib.Path | Image.Image | np.ndarray
Embeddings = Float[np.ndarray, "n dim"]

Query = AnyImage | Sequence[AnyImage]

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
      images: one or many; an array (n, h, w, 3) is n.
      lift: False gives tangent vectors at the root (CLIP: raw features), to
        average several before `lift`.

    Raises:
      ValueError: a file is no image, which is named, or an array none.
      OSError: a file cannot be read.
    """
    images = _listed(images)

    def square(image):
      return image_lib.center_square(_pixels(image), self.image_size)

    with ThreadPoolExecutor(encoding.THREADS) as pool:
      # One by one what is there already, as threads cost more than they gain.
      files = all(isinstance(image, str | pathlib.Path) for image in images)
      each = pool.map if files else map

      def pixels(batch):
        return np.stack([*each(square, batch)])

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

  def classify(
    self,
    images: AnyImage | Sequence[AnyImage],
    labels: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
  ) -> Classification:
    """Which label fits each image, by the softmax that the model trained with.

    Args:
      images: as of `encode_image`.
      labels: one name a class.
      templates: prompts with one `{}` for the name; their average stands for a
        class (see `evals.zero_shot`).

    Raises:
      ValueError: there is no label, or a template without its place.
    """
    classification.check(labels, templates)
    classes = class_embeddings(self, labels, templates)
    scale = float(jnp.exp(self.params["logit_scale"]))
    found = classification.probabilities(
      self.encode_image(images), classes, scale, self._index_curv
    )
    return Classification(list(labels), found)

  def index_images(
    self,
    images: Sequence[AnyImage],
    names: Sequence[str] | None = None,
  ) -> Index:
    """An index of images; paths are their own names, others need some."""
    if names is None:
      names = [
        str(image) if isinstance(image, str | pathlib.Path) else f"image {i}"
        for i, image in enumerate(images)
      ]
    return self.index(self.encode_image(images), names)

  def index_texts(self, texts: Sequence[str]) -> Index:
    """An index of texts."""
    return self.index(self.encode_text(texts), texts)

  def index(self, embeddings: Embeddings, names: Sequence[str]) -> Index:
    """An index of embeddings made before."""
    return Index(embeddings, names, self._index_curv)

  def search(self, query: Query, index: Index, k: int = 5) -> list[list[Hit]]:
    """The `k` nearest things in an index, for each query.

    Args:
      query: strings are texts; paths (`pathlib.Path`), PIL images and uint8
        arrays are images; a float32 array (n, dim) holds embeddings.
      index: made by this model.
      k: how many.

    Raises:
      ValueError: the index is another model's.
    """
    self._check_own(index)
    if isinstance(query, np.ndarray) and query.dtype == np.float32:
      return index.search(query, k)
    query = _listed(query)
    texts = [item for item in query if isinstance(item, str)]
    if len(texts) == len(query):
      return index.search(self.encode_text(texts), k)
    return index.search(self.encode_image(query), k)

  def traverse(
    self,
    images: AnyImage | Sequence[AnyImage],
    index: Index,
    to: AnyImage = walk.ROOT,
    steps: int = 50,
  ) -> list[list[walk.Waypoint]]:
    """What lies nearest on the way from each image to the root or an image.

    Args:
      images: where the walks start.
      index: what may be met, made by this model; of a walk to the root, the
        root too.
      to: "root", or an image: the way is the geodesic there.
      steps: points on the way, both ends included.
    """
    self._check_own(index)
    if isinstance(to, str) and to == walk.ROOT:
      starts = self.encode_image(images, lift=False)
      walks = traversal.traverse(self, starts, index.embeddings, steps)
    else:
      (end,) = self.encode_image(to)
      starts = self.encode_image(images)
      walks = [walk.between(start, end, index, steps) for start in starts]
    return [walk.named(stops, index) for stops in walks]

  def save_pretrained(self, folder: str | pathlib.Path) -> None:
    """Writes `config.json` and `model.safetensors`, which `load` takes.

    Raises:
      FileExistsError: the folder holds another kind of config.json.
    """
    shared = release.Release(
      self.name, self.model, self.params, self.image_size
    )
    release.write(pathlib.Path(folder), shared)

  def push_to_hub(self, repository: str, private: bool = False) -> str:
    """Uploads what `save_pretrained` writes to the Hugging Face hub.

    Args:
      repository: "org/name"; `load("hf-hub:org/name")` takes it then.
      private: whether a repository that is made here is private.

    Returns:
      The repository's URL.

    Raises:
      ImportError: the extra `hub` is missing.
      OSError: the hub refuses it, or there is no way to it.
    """
    with tempfile.TemporaryDirectory() as folder:
      self.save_pretrained(folder)
      return hub.upload(repository, folder, private)

  @property
  def _index_curv(self) -> float:
    return self.curv if self.hyperbolic else 0.0

  def _check_own(self, index: Index) -> None:
    found = (index.embeddings.shape[1], index.curv)
    if not np.allclose(found, (self.model.embed_dim, self._index_curv)):
      raise ValueError(
        f"the index is another model's: {found[0]} wide with curv {found[1]}, "
        f"this one has {self.model.embed_dim} and {self._index_curv}"
      )

  def _encode(
    self,
    items: Sequence[Any],
    to_array: Callable[[Sequence[Any]], np.ndarray],
    method: str,
    lift: bool,
  ) -> Embeddings:
    """Batches of one size, the last one padded, so that nothing recompiles.

    While one is computed the next is read: two at most are on the device.
    """
    if not len(items):
      return np.zeros((0, self.model.embed_dim), np.float32)
    parts = []
    starts = range(0, len(items), self._batch_size)
    for start in bar(starts, method, len(starts)):
      rows = to_array(items[start : start + self._batch_size])
      padding = [(0, self._batch_size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
      out = _apply(self.model, method)(self.params, np.pad(rows, padding))
      if lift:
        out = _apply(self.model, "lift")(self.params, out)
      if parts:
        parts[-1] = np.asarray(parts[-1])  # Waits for it.
      parts.append(out)
    return np.concatenate(parts)[: len(items)]


def _listed(images: AnyImage | Sequence[AnyImage]) -> Sequence[AnyImage]:
  """One image as a list of one; an array (n, h, w, 3) is many already."""
  if isinstance(images, np.ndarray) and images.ndim == 4:
    return list(images)
  return [images] if isinstance(images, AnyImage) else images


def _pixels(image: AnyImage) -> image_lib.Pixels:
  if isinstance(image, Image.Image):
    return np.array(image_lib.to_rgb(image))
  if not isinstance(image, np.ndarray):
    return encoding.decode_file(image)
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
    raise ValueError(
      "an image as an array is uint8 (height, width, 3); found "
      f"{image.dtype} {image.shape}"
    )
  return image


@functools.cache
def _apply(model: Any, method: str) -> Callable[..., jax.Array]:
  """One jitted function a model and method; uint8 pixels become [0, 1]."""

  def apply(params, x):
    if x.dtype == jnp.uint8:
      x = x.astype(jnp.float32) / 255
    return model.apply({"params": params}, x, method=method)

  return jax.jit(apply)
