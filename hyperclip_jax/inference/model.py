"""A trained model to use: encode, compare, and ask what entails what."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64

from hyperclip_jax.checkpoints import hub, release
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.evals.metrics.zero_shot import class_embeddings
from hyperclip_jax.geometry import spaces
from hyperclip_jax.inference import encoder, inputs, walk
from hyperclip_jax.inference.classify import Classification, softmax
from hyperclip_jax.inference.encoder import BatchEncoder, EncodedFiles
from hyperclip_jax.inference.inputs import Images, Rows, Texts
from hyperclip_jax.inference.search import Hit, Index
from hyperclip_jax.systems.dual_encoder import DualEncoder
from hyperclip_jax.systems.task import Encoder

Embeddings = Float32[np.ndarray, "n dim"]


class HyperCLIP:
  """CLIP, MERU or HyCoCLIP with its parameters, for inference.

  Embeddings are float32 numpy arrays (n, dim): space components of points on
  the hyperboloid, or unit vectors for CLIP. What is computed from them is
  computed on the host in float64 (see `spaces`), for any number of rows.

  Attributes:
    name: "hycoclip", "meru" or "clip".
    model: the Flax module.
    params: its parameters.
    image_size: side of the square the image tower reads.
    space: where embeddings live, `spaces.Lorentz` or `spaces.Sphere`.
    hyperbolic: whether that is a hyperboloid.
    curv: its curvature is -curv; 1.0 where not hyperbolic.
    logit_scale: multiplies cosines or minus distances in `probabilities`.
  """

  def __init__(
    self,
    name: str,
    model: DualEncoder,
    params: Any,
    image_size: int,
    batch_size: int = encoder.BATCH,
  ):
    """Puts the parameters on the first local device.

    What does not fit into one batch is encoded on all local devices, which get
    a copy of the parameters then.

    Args:
      name, model, params, image_size: see the attributes.
      batch_size: most images or texts that a device computes at once.
    """
    self.name = name
    self.model: Any = model
    self.params = jax.device_put(params, jax.local_devices()[0])
    self.image_size = image_size
    self.hyperbolic = model.hyperbolic
    self.curv = float(jnp.exp(params["curv"])) if model.hyperbolic else 1.0
    self.logit_scale = float(jnp.exp(params["logit_scale"]))
    self.space = spaces.of(self.curv if model.hyperbolic else 0.0)
    towers = _encoder(self.model, image_size)
    variables = {"params": self.params}
    self._encoder = BatchEncoder(towers, variables, batch_size)

  def __repr__(self) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
    return (
      f"HyperCLIP({self.name}: {count:,} parameters, images of "
      f"{self.image_size} x {self.image_size}, texts of "
      f"{self.model.text.context} tokens, {self.model.embed_dim} dimensions, "
      f"{self.space})"
    )

  @functools.cached_property
  def fingerprint(self) -> str:
    """16 hexadecimal digits, of all that the embeddings depend on."""
    return encoder.fingerprint(self.model, self.params, self.image_size)

  @functools.cached_property
  def root(self) -> Float32[np.ndarray, " dim"]:
    """The most general point: the hyperboloid's origin.

    CLIP has none of its own. The embedding of the empty text stands for it, as
    in HierarCaps (Alper and Averbuch-Elor, 2024).
    """
    if self.hyperbolic:
      return np.zeros(self.model.embed_dim, np.float32)
    return self.encode_text("")[0]

  def encode_image(self, images: Images, lift: bool = True) -> Embeddings:
    """Embeds images.

    Those that a camera stored sideways are turned upright, as their EXIF tag
    says. The short side is resized to the model's size, the centre cropped.

    Args:
      images: one or a list of: paths, bytes of image files, file objects of
        them, PIL images, or uint8 arrays (height, width, 3) of NumPy, JAX or
        PyTorch; an array (n, height, width, 3) is n. A string is a path.
      lift: False gives tangent vectors at the root (CLIP: raw features), to
        average several before `lift`.

    Raises:
      TypeError: something else is given, which is named.
      ValueError: a file or bytes are no image, or an array is of another kind.
      OSError: a file cannot be read.
    """
    found = self._encoder.images(inputs.images(images))
    return self.lift(found) if lift else found

  def encode_files(self, paths: Sequence[str | os.PathLike]) -> EncodedFiles:
    """Embeds image files; those that cannot be read are left out and named.

    Args:
      paths: any number; files as of `encode_image`.
    """
    found = self._encoder.files(inputs.paths(paths))
    return found._replace(embeddings=self.lift(found.embeddings))

  def encode_text(self, texts: Texts, lift: bool = True) -> Embeddings:
    """Embeds texts; those longer than the context are cut, with a warning.

    Args:
      texts: a string, or a list of them.
      lift: as of `encode_image`.

    Raises:
      TypeError: something else is given, which is named.
    """
    found = self._encoder.texts(inputs.texts(texts))
    return self.lift(found) if lift else found

  def lift(self, tangents: Rows) -> Embeddings:
    """Tangent vectors at the root -> embeddings."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a diverged model
      lifted = self.space.lift(self._rows("tangents", tangents))
      return lifted.astype(np.float32)

  def similarity(self, x: Rows, y: Rows) -> Float64[np.ndarray, "n m"]:
    """Of all pairs, higher is nearer: Lorentz inner product, or cosine."""
    return self.space.similarity(self._rows("x", x), self._rows("y", y))

  def probabilities(
    self, images: Rows, classes: Rows
  ) -> Float64[np.ndarray, "images classes"]:
    """The softmax over classes that the objectives train.

    Of minus the geodesic distance, or of the cosine for CLIP, times the trained
    scale. Rows sum to 1.

    Args:
      images: embeddings.
      classes: embeddings, such as of `evals.zero_shot.class_embeddings`.
    """
    x, y = self._rows("images", images), self._rows("classes", classes)
    return softmax(self.logit_scale * self.space.nearness(x, y))

  def entailment_score(
    self, general: Rows, specific: Rows
  ) -> Float32[np.ndarray, " n"]:
    """Row by row: does `general` entail `specific`? Lower is a clearer yes.

    The exterior angle minus the half aperture in radians: at most zero where
    the specific point lies in the general one's cone. CLIP has no cones; its
    score is minus the cosine.

    Args:
      general: n embeddings, or one for all of `specific`.
      specific: n embeddings, or one for all of `general`.

    Raises:
      ValueError: the numbers of rows differ.
    """
    x, y = self._rows("general", general), self._rows("specific", specific)
    if len(x) != len(y) and 1 not in (len(x), len(y)):
      raise ValueError(f"{len(x)} general rows for {len(y)} specific ones")
    return self.space.cone_margin(x, y).astype(np.float32)

  def distance_to_root(
    self, x: Rows, root: Rows | None = None
  ) -> Float32[np.ndarray, " n"]:
    """Geodesic distance of each row to the root; cosine distance for CLIP.

    Args:
      x: embeddings.
      root: one embedding; None is `self.root`. To compare CLIP with published
        numbers give the mean direction of a set, `space.root(embeddings)`.
    """
    root = self._rows("root", self.root if root is None else root)
    if len(root) != 1:
      raise ValueError(f"root is {len(root)} rows: give one")
    return self.space.distance(self._rows("x", x), root).astype(np.float32)

  def classify(
    self,
    images: Images,
    labels: Sequence[str],
    templates: Sequence[str] = ("a photo of a {}.",),
  ) -> Classification:
    """Which label fits each image: `probabilities` of their prompts.

    Args:
      images: as of `encode_image`.
      labels: list of names, one a class.
      templates: list of prompts with one `{}` for the name; their average
        stands for a class (see `evals.zero_shot`).

    Raises:
      TypeError: labels or templates are no list of strings.
      ValueError: there is no label, or a template without its place.
    """
    names = inputs.strings("labels", labels)
    pictures = inputs.images(images)
    classes = class_embeddings(self, names, templates)
    found = self.probabilities(self.encode_image(pictures), classes)
    return Classification(names, found)

  def index_images(
    self, images: Images, names: Sequence[str] | None = None
  ) -> Index:
    """An index of images; paths are their own names, others are numbered."""
    pictures = inputs.images(images)
    if names is None:
      names = [
        os.fspath(image)
        if isinstance(image, str | os.PathLike)
        else f"image {i}"
        for i, image in enumerate(pictures)
      ]
    return self.index(self.encode_image(pictures), names)

  def index_texts(self, texts: Texts) -> Index:
    """An index of texts, which are their own names."""
    names = inputs.texts(texts)
    return self.index(self.encode_text(names), names)

  def index(self, embeddings: Rows, names: Sequence[str]) -> Index:
    """An index of embeddings that this model made before."""
    rows = self._rows("embeddings", embeddings)
    return Index(rows, names, self.space.curv, self.fingerprint)

  def check_index(self, index: Any) -> None:
    """Raises ValueError where another model made the index."""
    if not isinstance(index, Index):
      raise TypeError(
        f"index is of type {type(index).__name__}: give an Index, such as of "
        "index_texts or Index.load"
      )
    index.check_model(self.model.embed_dim, self.space.curv, self.fingerprint)

  def search(self, queries: Rows, index: Index, k: int = 5) -> list[list[Hit]]:
    """The `k` nearest of an index to each embedding, best first.

    `search_text` and `search_image` take what is not embedded yet.

    Args:
      queries: embeddings.
      index: made by this model.
      k: how many; of a smaller index all are given.

    Raises:
      TypeError: the queries are no embeddings.
      ValueError: the index is another model's, or a query is not finite.
    """
    self.check_index(index)
    instead = "; search_text takes texts, search_image pictures"
    return index.search(self._rows("queries", queries, instead), k)

  def search_text(
    self, texts: Texts, index: Index, k: int = 5
  ) -> list[list[Hit]]:
    """`search` for texts, given as for `encode_text`."""
    self.check_index(index)
    return index.search(self.encode_text(texts), k)

  def search_image(
    self, images: Images, index: Index, k: int = 5
  ) -> list[list[Hit]]:
    """`search` for images, given as for `encode_image`: a string is a path."""
    self.check_index(index)
    return index.search(self.encode_image(images), k)

  def traverse(
    self,
    images: Images,
    index: Index,
    to: Images | None = None,
    steps: int = walk.STEPS,
  ) -> list[tuple[walk.Stop, ...]]:
    """What lies nearest on the way from each image to the root or an image.

    Args:
      images: where the walks start, as of `encode_image`.
      index: what may be met, made by this model; of a walk to the root, the
        root too.
      to: None for the root, or one image: the way is the geodesic there.
      steps: points on the way, both ends included.

    Raises:
      ValueError: the index is another model's, or `to` is several images.
    """
    self.check_index(index)
    starts = self.encode_image(images)
    if to is None:
      return [walk.to_root(x, self.root, index, steps) for x in starts]
    end = self.encode_image(to)
    if len(end) != 1:
      raise ValueError(f"to is {len(end)} images: give one")
    return [walk.between(x, end[0], index, steps) for x in starts]

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

  def _rows(
    self, name: str, given: Rows, instead: str = ""
  ) -> Float[np.ndarray, "n dim"]:
    return inputs.rows(name, given, self.model.embed_dim, instead)


@functools.cache  # So that models of one shape share their programs.
def _encoder(model: Any, image_size: int) -> Encoder:
  """The towers of a module as functions."""

  def tower(method: str) -> Callable[[Any, Any], jax.Array]:
    def apply(variables, x):
      return model.apply(variables, x, method=method)

    return apply

  def space(params: Any) -> spaces.Space:
    return spaces.of(
      float(jnp.exp(params["curv"])) if model.hyperbolic else 0.0
    )

  return Encoder(
    init=model.init,
    image=tower("encode_image"),
    text=tower("encode_text"),
    space=space,
    scale=lambda params: jnp.exp(params["logit_scale"]),
    tokenizer=functools.partial(Tokenizer, model.text.vocab),
    context=model.text.context,
    image_size=image_size,
    width=model.embed_dim,
  )
