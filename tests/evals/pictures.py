"""Small image files of one colour."""

import io
import pathlib

import numpy as np
from PIL import Image

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


def encoded(colour, kind="PNG", size=(12, 9)):
  """The bytes of a picture (width, height) of a colour."""
  buffer = io.BytesIO()
  Image.new("RGB", size, colour).save(buffer, kind)
  return buffer.getvalue()


def write(path: pathlib.Path, colour, kind="PNG", size=(12, 9)):
  """Writes it, and the folders above."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(encoded(colour, kind, size))


def colours(images):
  """The rounded mean colour of each of some images."""
  return [tuple(np.round(i.mean(axis=(0, 1))).astype(int)) for i in images]
