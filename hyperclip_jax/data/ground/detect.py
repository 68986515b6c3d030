"""Detectors: functions that look for phrases in images.

A detector is one function, `detect(images, phrases)`. Those of the library
`transformers` are adapted in `grounding_dino` and `owl`; weights are read from
safetensors files alone, and no code of a model's repository is run.
"""

import hashlib
import importlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.ground.select import Found
from hyperclip_jax.data.records.images import Pixels

Detect = Callable[[Sequence[Pixels], Sequence[Sequence[str]]], list[Found]]

SUM = ("max", "mean")  # how scores of a phrase's tokens become its score


class Kind(NamedTuple):
  """A kind of detector.

  Attributes:
    module: module of this package that adapts it.
    threshold: score above which boxes are kept by default. Scores of different
      kinds cannot be compared, and none is GLIP's, with which GRIT was made.
  """

  module: str
  threshold: float


KINDS = {  # by `model_type` of config.json
  "grounding-dino": Kind("grounding_dino", 0.35),
  "mm-grounding-dino": Kind("grounding_dino", 0.35),
  "owlv2": Kind("owl", 0.2),
  "owlvit": Kind("owl", 0.1),
}


class Model(NamedTuple):
  """Weights of a detector, not yet loaded.

  Attributes:
    path: folder, or name on the Hugging Face hub.
    kind: kind of the detector.
    digest: digest of its files, or its revision on the hub.
  """

  path: str
  kind: Kind
  digest: str


def find(name: str) -> Model:
  """Finds the weights of a detector by the name that a user gives.

  Args:
    name: folder of `save_pretrained`, or "org/name" on the Hugging Face hub,
      with or without "hf-hub:" in front.

  Returns:
    Model to load.

  Raises:
    ModuleNotFoundError: `transformers` or torch is not installed.
    ValueError: there is no such detector, or it is of an unknown kind.
  """
  transformers = _imported()
  path = str(files.expanded(name.removeprefix(files.HUB)))
  try:
    config = transformers.AutoConfig.from_pretrained(path)
  except Exception as error:  # of files, HTTP and names
    raise ValueError(
      f"--detector={files.shown(name)}: no config.json was read "
      f"({files.shown(' '.join(str(error).split()))}); give a folder of "
      "save_pretrained, or org/name on the hub"
    ) from error
  if config.model_type not in KINDS:
    raise ValueError(
      f"--detector={files.shown(name)} is a {files.shown(config.model_type)}; "
      f"want one of {', '.join(KINDS)}"
    )
  digest = getattr(config, "_commit_hash", None) or _digest(pathlib.Path(path))
  return Model(path, KINDS[config.model_type], digest)


def load(model: Model, device: str, batch_size: int, tokens: str) -> Detect:
  """Loads a detector.

  Args:
    model: model to load.
    device: device of torch, such as "cuda:0"; "" for the first GPU, or else the
      CPU.
    batch_size: images to run at once.
    tokens: one of `SUM`; GLIP takes the mean over tokens. OWL models have one
      score for a phrase.

  Returns:
    Function of (images, phrases of each) that returns what it found in each.

  Raises:
    ValueError: the weights cannot be read.
  """
  _imported()
  import torch

  where = device or ("cuda" if torch.cuda.is_available() else "cpu")
  module = importlib.import_module(f"{__package__}.{model.kind.module}")
  try:
    return module.load(model.path, where, batch_size, tokens)
  except (OSError, ValueError, RuntimeError) as error:
    raise ValueError(
      f"--detector={files.shown(model.path)}: not loaded "
      f"({files.shown(' '.join(str(error).split()), 400)})"
    ) from error


def pretrained(path: str, device: str) -> tuple[Any, Any]:
  """Loads the model and the processor of a detector with `transformers`.

  Args:
    path: folder, or name on the hub.
    device: device of torch.

  Returns:
    Model in evaluation mode, and its processor.
  """
  transformers = _imported()
  model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
    path, use_safetensors=True
  )
  processor = transformers.AutoProcessor.from_pretrained(path)
  return model.to(device).eval(), processor


def _imported() -> Any:
  try:
    importlib.import_module("torch")
    return importlib.import_module("transformers")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "a detector needs torch and transformers: pip install "
      "'hyperclip-jax[ground]'"
    ) from error


def _digest(folder: pathlib.Path) -> str:
  """Computes a digest of names and sizes of a model's files, and its config."""
  digest = hashlib.sha256()
  for path in sorted(folder.iterdir()):
    if path.suffix in (".json", ".safetensors"):
      digest.update(f"{path.name} {os.path.getsize(path)}\n".encode())
  digest.update(files.read_bytes(folder / "config.json"))
  return digest.hexdigest()[:32]
