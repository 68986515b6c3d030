"""Writes scikit-learn's handwritten digits as captioned tars.

1,797 grey images of 8 x 8 pixels, of which a fifth of each class is held out,
ship inside the scikit-learn wheel (extra `digits`), so nothing is downloaded.
A record is KEY.png and KEY.txt, the name of the digit.

  hyperclip digits --output DIR

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, 1998 (UCI
Machine Learning Repository, CC BY 4.0).
"""

import importlib
import io
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from hyperclip_jax import files
from hyperclip_jax.data import long_tail
from hyperclip_jax.data.records import tars

NAMES = (
  *("zero", "one", "two", "three", "four"),
  *("five", "six", "seven", "eight", "nine"),
)
_FIFTH = 5  # every fifth image of a class is held out


class Digits(NamedTuple):
  """Images and their classes, of training and held out.

  Attributes:
    train: images to train on.
    train_labels: their digits.
    val: held-out images.
    val_labels: their digits.
  """

  train: UInt8[np.ndarray, "n 8 8"]
  train_labels: Int[np.ndarray, " n"]
  val: UInt8[np.ndarray, "m 8 8"]
  val_labels: Int[np.ndarray, " m"]


def load() -> Digits:
  """Reads the digits.

  Returns:
    Digits; the classes of both parts are balanced.

  Raises:
    ModuleNotFoundError: scikit-learn is not installed.
  """
  try:
    module = importlib.import_module("sklearn.datasets")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "the digits are those of scikit-learn, which is not installed: "
      "pip install 'hyperclip-jax[digits]'"
    ) from error
  found = module.load_digits()
  images = np.round(found.images * (255 / 16)).astype(np.uint8)
  labels = found.target.astype(np.int64)
  order = np.random.default_rng(0).permutation(len(labels))
  images, labels = images[order], labels[order]
  place = np.zeros_like(labels)  # of an image within its class
  for label in range(len(NAMES)):
    own = labels == label
    place[own] = np.arange(own.sum())
  held = place % _FIFTH == 0
  return Digits(images[~held], labels[~held], images[held], labels[held])


def write(
  folder: str | os.PathLike[str], imbalance: float = 1.0
) -> pathlib.Path:
  """Writes the digits as `train/00000.tar` and `val/00000.tar`.

  Args:
    folder: folder to write to; created if missing. Older tars are replaced
      atomically.
    imbalance: size of the rarest class of training over that of the most
      frequent one; see `long_tail.choose`.

  Returns:
    Folder.

  Raises:
    ModuleNotFoundError: scikit-learn is not installed.
    ValueError: the imbalance is not in (0, 1].
  """
  found, folder = load(), files.expanded(folder)
  kept = long_tail.choose(found.train_labels, imbalance)
  parts = {
    "train": (found.train[kept], found.train_labels[kept]),
    "val": (found.val, found.val_labels),
  }
  for name, (images, labels) in parts.items():
    path = folder / name / "00000.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, _tar(zip(images, labels, strict=True)))
  return folder


def _tar(rows: Iterable[tuple[np.ndarray, np.integer]]) -> bytes:
  data = io.BytesIO()
  with tars.writing(data) as add:
    for number, (image, label) in enumerate(rows):
      png = io.BytesIO()
      Image.fromarray(image).save(png, "png")
      text = NAMES[int(label)].encode()
      for suffix, content in (("png", png.getvalue()), ("txt", text)):
        add(f"{number:04d}.{suffix}", content)
  return data.getvalue()
