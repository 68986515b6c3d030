"""Trained models in use: embed, compare, classify, search, traverse."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, Float64

from hyperclip_jax import files, systems
from hyperclip_jax.checkpoints import card, hub, release
from hyperclip_jax.checkpoints.card import NOTHING, About
from hyperclip_jax.geometry import spaces
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.inference import describe, encoder, inputs, walk
from hyperclip_jax.inference.classify import (
  Classification,
  class_embeddings,
  softmax,
)
from hyperclip_jax.inference.encoder import (
  BatchEncoder,
  Device,
  EncodedFiles,
)
from hyperclip_jax.inference.inputs import Images, Rows, Texts
from hyperclip_jax.inference.preprocess import Preprocess, Tokenize
from hyperclip_jax.inference.search import Hit, Index
from hyperclip_jax.systems.task import Encoder, Variables, variable_shapes

Embeddings = Float32[np.ndarray, "n dim"]


class HyperCLIP:
  """A trained model of any system, for inference.

  Embeddings are float32 NumPy arrays (n, dim), points of the model's `space`:
  space components on a hyperboloid, or unit vectors for CLIP. Computations on
  embeddings run on the host in float64, for any number of rows.

  Attributes:
    system: name of the system, such as "hycoclip".
    title: name of the system in reports, such as "HyCoCLIP".
    options: `Options` of the system.
    variables: trained variables, on the first device.
    devices: devices that encode.
    image_size: side of an image in pixels.
    width: width of an embedding.
    context: largest number of tokens in a text.
    space: space of the embeddings.
    classes: classes that the model was trained to tell apart, if it was.
    parents: their hierarchy, node -> its parents, if they have one.
    logit_scale: factor of nearness in `logits`.
    about: what a model card tells beside the options.
    preprocess: function of images, as for `encode_image`, to the uint8 pixels
      (n, side, side, 3) that the image tower gets.
  """

  def __init__(
    self,
    system: str,
    options: Any,
    variables: Variables,
    batch_size: int = 64,
    trust_system: bool = False,
    devices: Sequence[Device] | None = None,
    about: About = NOTHING,
  ):
    """Puts the variables on the first device.

    What does not fit into one batch is encoded on all devices, which get a copy
    of the variables then.

    Args:
      system: name of a system, or "package.module" of another package.
      options: its `Options`.
      variables: variables of its encoder, such as {"params": ...}.
      batch_size: most images or texts that a device computes at once.
      trust_system: whether a system of another package may be imported.
      devices: devices of this process; None for all.
      about: what a model card tells beside the options.

    Raises:
      ValueError: `batch_size` is not positive, or there is no device.
    """
    self.system, self.options, self.about = system, options, about
    self._module = systems.find(system, trust_system)
    self.title = getattr(self._module, "TITLE", system)
    self.devices = inputs.devices(devices)
    self.variables = jax.device_put(variables, self.devices[0])
    self._towers = self.towers(options)
    self.image_size = self._towers.image_size
    self.width, self.context = self._towers.width, self._towers.context
    self.classes = self._towers.classes
    self.parents = self._towers.parents
    params = self.variables["params"]
    self.space: Space = spaces.on_host(self._towers.space(params))
    self.logit_scale = float(self._towers.scale(params))
    self._encoder = BatchEncoder(
      self._towers, self.variables, self.devices, batch_size
    )
    self.preprocess = Preprocess(self.image_size)

  @property
  def params(self) -> Any:
    """The trained variables of the towers."""
    return self.variables["params"]

  @property
  def size(self) -> int:
    """Number of trained parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(self.params))

  @functools.cached_property
  def tokenizer(self) -> Tokenize:
    """Function of texts to the token ids (n, context) that the tower gets."""
    return Tokenize(self._encoder.tokenizer, self.context)

  def towers(self, options: Any) -> Encoder:
    """Makes the towers for options, such as of another dtype."""
    return _encoder(self._module, options)

  def warm_up(self) -> None:
    """Compiles everything now, so that no later call waits for the compiler.

    Without it, the first call with one, with several, with more than 32, and
    with more inputs than a batch each compile a program. A server calls it
    once when it starts.
    """
    self._encoder.warm_up()
    _ = self.fingerprint  # read from all weights, for the first search

  def __repr__(self) -> str:
    return (
      f"HyperCLIP({self.system}: {self.size:,} parameters, images of "
      f"{self.image_size} x {self.image_size}, texts of "
      f"{self.context} tokens, {self.width} dimensions, "
      f"{self.space})"
    )

  def summary(self) -> str:
    """Describes the model in a few lines: sizes, parameters, space, devices.

    Examples:
      >>> print(model.summary().splitlines()[0].split(":")[0])
      HyCoCLIP
    """
    return describe.summary(self)

  @functools.cached_property
  def fingerprint(self) -> str:
    """Digest of everything that embeddings depend on, 16 hexadecimal digits."""
    return encoder.fingerprint(self.options, self.variables)

  @functools.cached_property
  def root(self) -> Float32[np.ndarray, " dim"]:
    """The most general point: the root of the space, such as its origin.

    The sphere of CLIP has no root. The embedding of the empty text takes its
    place, as in HierarCaps (Alper and Averbuch-Elor, 2024).
    """
    if self.space.rooted:
      rows = np.zeros((1, self.width), np.float32)
      return self.space.root(rows).astype(np.float32)
    return self.encode_text("")[0]

  def encode_image(self, images: Images, lift: bool = True) -> Embeddings:
    """Embeds images.

    Images are rotated by their EXIF orientation. The short side is resized to
    the image size of the model, and the centre is cropped.

    Args:
      images: one image or a list of images: paths, bytes, file objects, PIL
        images, or uint8 arrays (height, width, 3) of NumPy, JAX or PyTorch. An
        array (n, height, width, 3) holds n images. A string is a path.
      lift: whether to lift onto the space. False returns tangent vectors at the
        root (raw features for CLIP), which may be averaged before `lift`.

    Returns:
      Embeddings, one row per image.

    Raises:
      TypeError: an image is of another type; the message names it.
      ValueError: a file is not an image, or an array has another shape or
        dtype.
      OSError: a file cannot be read.

    Examples:
      >>> picture = np.zeros((48, 64, 3), np.uint8)
      >>> model.encode_image([picture, picture]).shape
      (2, 32)
    """
    found = self._encoder.images(inputs.images(images))
    return self.lift(found) if lift else found

  def encode_files(self, paths: Sequence[str | os.PathLike]) -> EncodedFiles:
    """Embeds image files, and leaves out those that cannot be read.

    Args:
      paths: paths of image files, any number.

    Returns:
      Embeddings and paths of the good files, and the faults of the others.
    """
    given = inputs.paths(paths)
    return self.encode_named([os.fspath(path) for path in given], given)

  def encode_named(
    self, names: Sequence[str], images: Sequence[Any]
  ) -> EncodedFiles:
    """Embeds images, and leaves out those that cannot be read, by their names.

    Args:
      names: name of each image.
      images: list of images, as for `encode_image`.

    Returns:
      Embeddings and names of the good images, and the faults of the others.

    Raises:
      ValueError: there are more or fewer names than images.
    """
    images = inputs.images(images)
    if len(names) != len(images):
      raise ValueError(f"{len(names)} names for {len(images)} images")
    found = self._encoder.files(names, images)
    return found._replace(embeddings=self.lift(found.embeddings))

  def encode_text(self, texts: Texts, lift: bool = True) -> Embeddings:
    """Embeds texts; a text longer than the context is cut, with a warning.

    Args:
      texts: a string or a list of strings.
      lift: whether to lift onto the space, as for `encode_image`.

    Returns:
      Embeddings, one row per text.

    Raises:
      TypeError: a text is of another type; the message names it.

    Examples:
      >>> model.encode_text(["a red circle", "a thing"]).shape
      (2, 32)
    """
    found = self._encoder.texts(inputs.texts(texts))
    return self.lift(found) if lift else found

  def lift(self, tangents: Rows) -> Embeddings:
    """Lifts tangent vectors at the root (raw features for CLIP) onto the space.

    Examples:
      >>> v = model.encode_text("a circle", lift=False)
      >>> bool(np.allclose(model.lift(v), model.encode_text("a circle")))
      True
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of a diverged model
      lifted = self.space.lift(self._rows("tangents", tangents))
      return lifted.astype(np.float32)

  def similarity(self, x: Rows, y: Rows) -> Float64[np.ndarray, "n m"]:
    """Computes the similarity of all pairs: Lorentz inner product, or cosine.

    Args:
      x: n embeddings.
      y: m embeddings.

    Returns:
      Similarities; higher is nearer.

    Examples:
      >>> texts = model.encode_text(["a red circle", "a thing"])
      >>> model.similarity(texts, texts).argmax(axis=1).tolist()
      [0, 1]
    """
    return self.space.similarity(self._rows("x", x), self._rows("y", y))

  def logits(
    self, images: Rows, classes: Rows
  ) -> Float64[np.ndarray, "images classes"]:
    """Computes logits of all pairs: nearness times `logit_scale`.

    Nearness is minus the geodesic distance, or the cosine for CLIP.

    Args:
      images: embeddings.
      classes: embeddings.

    Returns:
      Logits, of which training takes the softmax.

    Examples:
      >>> texts = model.encode_text(["a red circle", "a thing"])
      >>> model.logits(texts, texts).argmax(axis=1).tolist()
      [0, 1]
    """
    x, y = self._rows("images", images), self._rows("classes", classes)
    return self.logit_scale * self.space.pairwise(x, y)

  def probabilities(
    self, images: Rows, classes: Rows
  ) -> Float64[np.ndarray, "images classes"]:
    """Computes the softmax of `logits` over classes, as in training.

    Args:
      images: embeddings.
      classes: embeddings of classes, such as of
        `inference.classify.class_embeddings`.

    Returns:
      Probabilities; rows sum to 1.
    """
    return softmax(self.logits(images, classes))

  def entailment_score(
    self, general: Rows, specific: Rows
  ) -> Float32[np.ndarray, " n"]:
    """Scores row by row whether `general` entails `specific`.

    In a space with cones, the score is the exterior angle minus the half
    aperture in radians (MERU, Desai et al., 2023). The sphere of CLIP has no
    cones; its score is minus the cosine.

    Args:
      general: n embeddings, or one for all of `specific`.
      specific: n embeddings, or one for all of `general`.

    Returns:
      Scores, lower for a clearer yes: at most 0 where the specific point lies
      in the cone of the general one.

    Raises:
      ValueError: the numbers of rows differ.

    Examples:
      The root entails everything up to a right angle, which is its aperture.

      >>> texts = model.encode_text(["a red circle", "a thing"])
      >>> model.entailment_score(model.root, texts)
      array([0., 0.], dtype=float32)
    """
    x, y = self._rows("general", general), self._rows("specific", specific)
    if len(x) != len(y) and 1 not in (len(x), len(y)):
      raise ValueError(f"{len(x)} general rows for {len(y)} specific ones")
    return self.space.entailment_score(x, y).astype(np.float32)

  def distance_to_root(
    self, x: Rows, root: Rows | None = None
  ) -> Float32[np.ndarray, " n"]:
    """Computes distances to the root: geodesic, or cosine distance for CLIP.

    Args:
      x: embeddings.
      root: one embedding; None for `self.root`. To compare CLIP with published
        numbers, give the mean direction of a set, `space.root(embeddings)`.

    Returns:
      Distances; general concepts lie near the root.

    Raises:
      ValueError: `root` has several rows.

    Examples:
      >>> model.distance_to_root(model.root)
      array([0.], dtype=float32)
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
    """Classifies images zero-shot, by the `probabilities` of prompts.

    Args:
      images: images, as for `encode_image`.
      labels: list of class names.
      templates: list of prompts with one `{}` for the name. The embedding of a
        class is the lifted average of its prompts.

    Returns:
      Labels and probabilities (images, labels).

    Raises:
      TypeError: `labels` or `templates` is not a list of strings.
      ValueError: there is no label, or a template lacks `{}`.

    Examples:
      >>> picture = np.zeros((48, 64, 3), np.uint8)
      >>> found = model.classify(picture, ["circle", "square"])
      >>> found.probabilities.shape
      (1, 2)
      >>> round(float(found.probabilities.sum()), 6)
      1.0
    """
    names = inputs.strings("labels", labels)
    pictures = inputs.images(images)
    classes = class_embeddings(self, names, templates)
    found = self.probabilities(self.encode_image(pictures), classes)
    return Classification(names, found)

  def index_images(
    self, images: Images, names: Sequence[str] | None = None
  ) -> Index:
    """Makes an index of images.

    Args:
      images: images, as for `encode_image`.
      names: one name per image; None takes paths as names, and numbers others.

    Returns:
      Index of the images.
    """
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
    """Makes an index of texts, which are their own names."""
    names = inputs.texts(texts)
    return self.index(self.encode_text(names), names)

  def index(self, embeddings: Rows, names: Sequence[str]) -> Index:
    """Makes an index of embeddings of this model.

    Args:
      embeddings: embeddings to search in.
      names: one name per row.

    Returns:
      Index of the embeddings.
    """
    rows = self._rows("embeddings", embeddings)
    return Index(rows, names, self.space, self.fingerprint)

  def check_index(self, index: Any) -> None:
    """Checks that this model made an index.

    Raises:
      TypeError: it is not an index.
      ValueError: another model made it.
    """
    if not isinstance(index, Index):
      raise TypeError(
        f"index is of type {type(index).__name__}: give an Index, such as of "
        "index_texts or Index.load"
      )
    index.check_model(self.width, self.space, self.fingerprint)

  def search(self, queries: Rows, index: Index, k: int = 5) -> list[list[Hit]]:
    """Searches an index for the nearest entries to embeddings.

    `search_text` and `search_image` take texts and images.

    Args:
      queries: embeddings.
      index: index that this model made.
      k: number of entries to return; a smaller index returns all.

    Returns:
      Up to `k` hits for each query, best first.

    Raises:
      TypeError: the queries are not embeddings.
      ValueError: another model made the index, or a query is not finite.
    """
    self.check_index(index)
    instead = "; search_text takes texts, search_image pictures"
    return index.search(self._rows("queries", queries, instead), k)

  def search_text(
    self, texts: Texts, index: Index, k: int = 5
  ) -> list[list[Hit]]:
    """Searches an index for the nearest entries to texts.

    Args:
      texts: a string or a list of strings.
      index: index that this model made.
      k: number of entries to return; a smaller index returns all.

    Returns:
      Up to `k` hits for each text, best first.

    Examples:
      >>> index = model.index_texts(["a red circle", "a thing"])
      >>> model.search_text("a red circle", index)[0][0].name
      'a red circle'
    """
    self.check_index(index)
    return index.search(self.encode_text(texts), k)

  def search_image(
    self, images: Images, index: Index, k: int = 5
  ) -> list[list[Hit]]:
    """Searches an index for the nearest entries to images.

    Args:
      images: images, as for `encode_image`; a string is a path.
      index: index that this model made.
      k: number of entries to return; a smaller index returns all.

    Returns:
      Up to `k` hits for each image, best first.
    """
    self.check_index(index)
    return index.search(self.encode_image(images), k)

  def traverse(
    self,
    images: Images,
    index: Index,
    to: Images | None = None,
    steps: int = walk.STEPS,
  ) -> list[tuple[walk.Stop, ...]]:
    """Walks from images to the root or to an image (MERU, Desai et al., 2023).

    A walk follows the geodesic and collects the nearest entry of the index at
    each step.

    Args:
      images: images to start from, as for `encode_image`.
      index: index that this model made; a walk to the root may meet the root
        too.
      to: image to walk to; None for the root.
      steps: number of points on the way, both ends included.

    Returns:
      Stops of each walk, in order, without consecutive repeats.

    Raises:
      ValueError: another model made the index, or `to` is several images.

    Examples:
      >>> picture = np.zeros((48, 64, 3), np.uint8)
      >>> index = model.index_texts(["a circle", "a thing"])
      >>> model.traverse(picture, index)[0][-1].name
      'root'
    """
    self.check_index(index)
    starts = self.encode_image(images)
    if to is None:
      return [walk.to_root(x, self.root, index, steps) for x in starts]
    end = self.encode_image(to)
    if len(end) != 1:
      raise ValueError(f"to is {len(end)} images: give one")
    return [walk.between(x, end[0], index, steps) for x in starts]

  def save_pretrained(
    self,
    folder: str | pathlib.Path,
    licence: str = "",
    data: str = "",
    words: Index | None = None,
  ) -> None:
    """Writes `model.json` and `model.safetensors`, which `load` reads.

    A model card, `README.md`, is written too, unless the folder has one. Some
    systems release a model as one of another, such as HAC with its adapters
    merged.

    Args:
      folder: folder to write to; created if missing.
      licence: identifier of the hub for the card, such as "apache-2.0".
      data: what the model was trained on, for the card; "" for what its run
        tells.
      words: index that `hyperclip demo` shows, written as `words.index`.

    Raises:
      FileExistsError: the folder is that of a run.
      ValueError: the licence is not an identifier, or another model made the
        index.
    """
    about = self.about
    about = about._replace(
      licence=licence or about.licence, data=data or about.data
    )
    card.check(about)
    model = self
    released = getattr(self._module, "released", None)
    if released is not None:
      model = HyperCLIP(*released(self.options, self.variables))
    if words is not None:
      model.check_index(words)
    folder = files.expanded(folder)
    release.write(
      folder,
      release.Release(model.system, model.options, model.variables),
      variable_shapes(model.towers(model.options)),
    )
    card.write(folder, model.title, describe.facts(model), about)
    if words is not None:
      words.save(folder / release.WORDS_FILE)

  def push_to_hub(
    self,
    repository: str,
    private: bool = False,
    licence: str = "",
    data: str = "",
    words: Index | None = None,
  ) -> str:
    """Uploads what `save_pretrained` writes to the Hugging Face hub.

    A model card that the repository already has is kept.

    Args:
      repository: "org/name", which `load("hf-hub:org/name")` reads.
      private: whether to create the repository as a private one.
      licence: as for `save_pretrained`.
      data: as for `save_pretrained`.
      words: as for `save_pretrained`.

    Returns:
      URL of the repository.

    Raises:
      ImportError: the extra `hub` is not installed.
      OSError: the hub rejects the upload or cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
      self.save_pretrained(folder, licence, data, words)
      return hub.upload(repository, folder, private)

  def _rows(
    self, name: str, given: Rows, instead: str = ""
  ) -> Float[np.ndarray, "n dim"]:
    return inputs.rows(name, given, self.width, instead)


@functools.lru_cache(maxsize=8)
def _encoder(module: ModuleType, options: Any) -> Encoder:
  """One encoder for equal options, so that programs are compiled once."""
  return module.encoder(options)
