"""Checks the inputs of a model: images, texts, rows of embeddings.

Types are checked before any work and before any file is opened, so that a
mistake is reported at once, wherever it is in a list.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from hyperclip_jax.data.records import colours
from hyperclip_jax.data.records import images as image_lib
from hyperclip_jax.data.records.images import ImageError, Pixels
from hyperclip_jax.files import expanded, read_bytes, shown

# Types of arguments, which are checked here and not by annotations.
Images = Any  # one or several of `IMAGES`; an array (n, h, w, 3) is several
Texts = Any  # a string, or a list of them
Rows = Any  # embeddings: floats (n, dim) or (dim,), of NumPy or similar

IMAGES = (
  "a path, the bytes of an image file or a file object of them, a PIL image or "
  "a uint8 array (height, width, 3)"
)
_ENCODED = (bytes, bytearray, memoryview)
_ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def images(given: Images) -> list[Any]:
  """Makes a list of one or several images.

  Args:
    given: `IMAGES`, or several of them; an array (n, height, width, 3) is n.

  Returns:
    Images that `pixels` can decode.

  Raises:
    TypeError: it is something else; the message says what and where.
    ValueError: a string is a web address, which is not downloaded.
  """
  if _is_array(given):
    array = _array(given, "an image")
    many = array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OU")
    items = list(array) if many else [array]
  elif _is_image(given):
    items = [given]
  else:
    items = _listed("images", given, f"{IMAGES}, or a list of these")
  for i, item in enumerate(items):
    if isinstance(item, str) and _ADDRESS.match(item):
      raise ValueError(
        f"image {i} is the address {shown(item, 60)}: nothing is downloaded "
        "unless asked for; download it, or give the bytes that "
        "hyperclip_jax.fetch_image gets by http and https"
      )
    if not (_is_image(item) or _is_array(item)):
      raise TypeError(f"image {i} is {_described(item)}: an image is {IMAGES}")
  return items


def paths(given: Any) -> list[Any]:
  """Makes a list of one or several paths.

  Raises:
    TypeError: it is something else; the message says what and where.
    ValueError: a string is a web address, which is not downloaded.
  """
  items = images(given)
  for i, item in enumerate(items):
    if not isinstance(item, str | os.PathLike):
      raise TypeError(f"paths[{i}] is {_described(item)}: give paths")
  return items


def is_file(image: Any) -> bool:
  """Checks whether an image is encoded, so that threads can decode it."""
  return _is_image(image) and not isinstance(image, Image.Image)


def pixels(image: Any) -> Pixels:
  """Decodes an image from `images`, turned upright by its EXIF tag.

  Args:
    image: one image in any of the forms.

  Returns:
    uint8 pixels (height, width, 3).

  Raises:
    ImageError: the bytes are not an image, or it is too large; the message
      names a file.
    ValueError: an array is of another kind, or empty.
    OSError: a file cannot be read.
  """
  if isinstance(image, str | os.PathLike):
    return decode_file(image)
  if isinstance(image, Image.Image):
    return _of_pil(image)
  if _is_array(image):
    return _of_array(_array(image, "an image"))
  if isinstance(image, io.BytesIO):
    data: Any = image.getvalue()  # from the start, whatever its position
  else:
    data = image if isinstance(image, _ENCODED) else image.read()
  if not isinstance(data, _ENCODED):
    raise TypeError(
      f"a file object gave {_described(data)}: open images as binary"
    )
  return decode(bytes(data), "image", upright=True)


def decode_file(path: str | os.PathLike[str]) -> Pixels:
  """Decodes an image file, turned upright by its EXIF tag.

  Args:
    path: file.

  Returns:
    uint8 pixels (height, width, 3).

  Raises:
    ImageError: it is not an image, or too large; the message names the file.
    OSError: it cannot be read.
    ValueError: it is not a regular file.
  """
  path = os.fspath(path)
  return decode(read_bytes(expanded(path)), path, upright=True)


def decode(data: bytes, where: str, upright: bool = False) -> Pixels:
  """Decodes an image, with its name in error messages.

  Args:
    data: encoded image.
    where: name of the image for messages.
    upright: whether to turn it by its EXIF tag. Boxes refer to stored pixels.

  Returns:
    uint8 pixels (height, width, 3).

  Raises:
    ImageError: it is not an image, or too large.
  """
  try:
    return image_lib.decode(data, upright=upright)
  except ImageError as error:
    raise ImageError(f"{where}: {error}") from error


def texts(given: Texts) -> list[str]:
  """Makes a list of one or several texts.

  Raises:
    TypeError: it is something else; the message says what and where.
  """
  return [given] if isinstance(given, str) else strings("texts", given)


def strings(name: str, given: Any) -> list[str]:
  """Checks a list of strings; a single string is not split into letters.

  Args:
    name: name of the argument, for messages.
    given: any iterable except mappings and sets, which have no order.

  Returns:
    List of strings.

  Raises:
    TypeError: it is something else; the message says what and where.
  """
  if isinstance(given, str):
    text = shown(repr(given), 40)
    raise TypeError(f"{name} is the string {text}: give a list, [{text}]")
  items = _listed(name, given, "a list of strings")
  for i, item in enumerate(items):
    if not isinstance(item, str):
      raise TypeError(f"{name}[{i}] is {_described(item)}: give strings")
  return [str(item) for item in items]


def whole(name: str, given: Any, least: int = 1) -> int:
  """Checks a whole number.

  Args:
    name: name of the argument, for messages.
    given: int, or an integer of NumPy.
    least: smallest value.

  Returns:
    The number.

  Raises:
    TypeError: it is something else.
    ValueError: it is too small.
  """
  if isinstance(given, bool) or not isinstance(given, int | np.integer):
    raise TypeError(f"{name} is {_described(given)}: give a whole number")
  if given < least:
    raise ValueError(f"{name} is {given}: give at least {least}")
  return int(given)


def devices(given: Any) -> list[Any]:
  """Checks a list of devices.

  Args:
    given: devices of this process; None for all.

  Returns:
    The devices.

  Raises:
    TypeError: it is something else, such as one device.
    ValueError: there is none.
  """
  if given is None:
    return jax.local_devices()
  want = "a list of devices, such as jax.local_devices()[:1], or None for all"
  if isinstance(given, str):
    raise TypeError(f"devices is {_described(given)}: give {want}")
  items = _listed("devices", given, want)
  if not items:
    raise ValueError(f"devices is empty: give {want}")
  for i, item in enumerate(items):
    if not isinstance(item, jax.Device):
      raise TypeError(f"devices[{i}] is {_described(item)}: give {want}")
  return items


def rows(
  name: str, given: Rows, dim: int, instead: str = ""
) -> Float[np.ndarray, "n dim"]:
  """Converts embeddings to an array with rows.

  Args:
    name: name of the argument, for messages.
    given: array of floats of any library; one row (dim,) becomes (1, dim).
    dim: width of the model's embeddings.
    instead: advice for other inputs, for messages.

  Returns:
    float32 array.

  Raises:
    TypeError: it is not an array of floats.
    ValueError: the shape is wrong.
  """
  wrong = f"want embeddings: floats (n, {dim}){instead}"
  if _is_image(given):
    raise TypeError(f"{name} is {_described(given)}: {wrong}")
  array = _array(given, name)
  if array.dtype.name in ("float16", "bfloat16"):
    array = array.astype(np.float32)
  if array.dtype.kind != "f":
    raise TypeError(f"{name} is an array of {array.dtype}: {wrong}")
  if array.ndim == 1:
    array = array[None]
  if array.ndim != 2 or array.shape[1] != dim:
    raise ValueError(f"{name} has the shape {array.shape}: {wrong}")
  return array


def finite(name: str, array: Float[np.ndarray, "n dim"]) -> None:
  """Checks that no row is NaN or infinite, which has no neighbours.

  Args:
    name: name of the argument, for messages.
    array: embeddings.

  Raises:
    ValueError: a row is not finite.
  """
  bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
  if len(bad):
    raise ValueError(
      f"{name}: {len(bad)} of {len(array)} rows are not finite, the first is "
      f"row {bad[0]}: the model that made them has diverged"
    )


def _is_image(item: Any) -> bool:
  """Checks for a single image other than an array."""
  kinds = (str, os.PathLike, *_ENCODED, Image.Image)
  return isinstance(item, kinds) or hasattr(item, "read")


def _is_array(item: Any) -> bool:
  """Checks for an array of NumPy, JAX, PyTorch or a similar library."""
  others = (Image.Image, np.generic)  # can become arrays but are not
  return hasattr(item, "__array__") and not isinstance(item, others)


def _array(given: Any, name: str) -> np.ndarray:
  try:
    return np.asarray(given)
  except Exception as error:  # its type differs by library
    raise TypeError(f"{name} cannot become a NumPy array: {error}") from error


def _listed(name: str, given: Any, wanted: str) -> list[Any]:
  ordered = not isinstance(given, Mapping | set | frozenset | bytes | bytearray)
  scalar = getattr(given, "ndim", 1) == 0
  if scalar or not (ordered and isinstance(given, Iterable)):
    raise TypeError(f"{name} is {_described(given)}: give {wanted}")
  return list(given)


def _described(item: Any) -> str:
  """Describes a value by its type, and by itself if that is short."""
  if item is None:
    return "None"
  kind = f"of type {type(item).__name__}"
  short = isinstance(item, int | float | str | bytes)
  return f"{shown(repr(item), 40)} {kind}" if short else kind


def _of_pil(image: Image.Image) -> Pixels:
  if not (image.width and image.height):
    raise ValueError(f"an image of {image.width} x {image.height} pixels")
  with contextlib.suppress(Exception):  # a broken tag: use the image as stored
    image = ImageOps.exif_transpose(image)
  return np.array(colours.to_rgb(image))


def _of_array(array: np.ndarray) -> Pixels:
  kind = array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3
  if not kind or not array.size:
    raise ValueError(
      "an image as an array is uint8 (height, width, 3), with pixels; found "
      f"{array.dtype} {array.shape}"
    )
  return array
