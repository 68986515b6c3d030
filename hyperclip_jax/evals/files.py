"""Files of the data sets: they may be missing, damaged or hostile."""

import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from hyperclip_jax.data import images
from hyperclip_jax.evals import Model

CHUNK = 256  # Images in memory at once, twice: 470 MB at 640 x 480.


def require(paths: Iterable[pathlib.Path], wanted: str) -> None:
  """All must be there.

  Args:
    paths: files or folders.
    wanted: where to get the data set, and its layout.

  Raises:
    FileNotFoundError: names the first that is not, counts the others.
  """
  absent = [path for path in paths if not path.exists()]
  if absent:
    others = f" ({len(absent):,} are missing)" if len(absent) > 1 else ""
    raise FileNotFoundError(
      f"{absent[0]}: no such file or folder{others}.\n{wanted}"
    )


def read_text(path: pathlib.Path) -> str:
  """The text of a UTF-8 file, or a ValueError that names it."""
  try:
    return path.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not UTF-8 text: {error}") from error


def read_json(path: pathlib.Path) -> Any:
  """The content of a JSON file, or a ValueError that names it."""
  text = read_text(path)
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not JSON: {error}") from error


def inside(folder: pathlib.Path, name: Any) -> pathlib.Path:
  """The path of a file that a data set names, which may not lead elsewhere.

  Args:
    folder: what the name is relative to.
    name: as found in the data.

  Raises:
    ValueError: the name is no text, empty, absolute or goes up.
  """
  parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
  if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
    raise ValueError(f"{name!r} is no file inside the data set")
  return folder.joinpath(*parts)


def read_image(path: pathlib.Path) -> images.Pixels:
  """The pixels of an image file, or an ImageError that names it."""
  try:
    return images.decode(path.read_bytes())
  except images.ImageError as error:
    raise images.ImageError(f"{path}: {error}") from error


def read_square(path: pathlib.Path) -> images.Pixels:
  """The pixels of an image file, squashed; errors as `read_image`."""
  return square(read_image(path))


def square(pixels: images.Pixels) -> images.Pixels:
  """Squashes an image to a square, so that the model's crop cuts nothing."""
  side = max(pixels.shape[:2])
  shape = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
  return np.asarray(shape)


def ahead(
  load: Callable[[Any], Any], groups: Iterable[Sequence[Any]]
) -> Iterator[list[Any]]:
  """Loads group after group in threads, each while the one before is in use.

  Args:
    load: what turns an item into what is wanted; its errors come out.
    groups: items that are wanted, and in memory, together.

  Yields:
    What `load` made of the items of a group, in order.
  """
  coming: list[Any] = []
  with ThreadPoolExecutor() as pool:
    for group in itertools.chain(groups, [()]):
      ready = coming
      coming = [pool.submit(load, item) for item in group]
      if ready:
        yield [loaded.result() for loaded in ready]


def encode_images(
  model: Model,
  paths: Sequence[pathlib.Path],
  read: Callable[[pathlib.Path], images.Pixels] = read_image,
) -> Float[np.ndarray, "images dim"]:
  """Embeds image files; the next ones are decoded while the model works.

  Args:
    model: The model.
    paths: At least one.
    read: `read_image`, or `read_square`.
  """
  starts = range(0, len(paths), CHUNK)
  chunks = ahead(read, (paths[i : i + CHUNK] for i in starts))
  return np.concatenate([model.encode_image(chunk) for chunk in chunks])


def unique(
  items: Sequence[Any],
) -> tuple[list[Any], Int[np.ndarray, "items"]]:
  """Each item once, and for each the row where it stands."""
  rows = {item: row for row, item in enumerate(dict.fromkeys(items))}
  return list(rows), np.array([rows[item] for item in items], np.int64)
