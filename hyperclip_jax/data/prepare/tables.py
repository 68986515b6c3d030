"""Reads tables of image files and captions: csv, tsv, parquet, or a folder.

The first column whose name is in `IMAGES` holds paths of images, relative to
the folder of the images or within it; the first whose name is in `CAPTIONS`
holds captions. Other columns are ignored. The key of a record is the number of
its row, and its path is kept as metadata. A folder of images counts as a table
if captions lie beside them, that of `a/b.jpg` in `a/b.txt`.
"""

import csv
import functools
import importlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.data.prepare import grounded
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.sample import Sample

SUFFIXES = (".csv", ".tsv", ".parquet")
IMAGES = ("image", "image_path", "filepath", "file_name", "filename", "path")
CAPTIONS = ("caption", "title", "text")
MOST = 1 << 32  # bytes of a table
MOST_CAPTION = 1 << 20  # bytes of a text file
LOOKED_AT = 1000  # images of a folder without finding a text beside one


class TableError(ValueError):
  """A table of other columns, or too large."""


class Row(NamedTuple):
  """A row of a table, as found.

  Attributes:
    image: path of the image.
    caption: caption of the image.
  """

  image: Any
  caption: Any


class Table(NamedTuple):
  """Some rows of a table: the input of one shard.

  Attributes:
    path: file of the table, or the folder that `folders` made rows of.
    folder: folder of the images.
    start: number in the table of the first row.
    rows: the rows.
  """

  path: str
  folder: str
  start: int
  rows: tuple[Row, ...]


def cut(path: str, folder: str, shard_size: int) -> list[Table]:
  """Reads a table and splits it into inputs.

  Args:
    path: csv, tsv or parquet file, or a folder of images and texts.
    folder: folder of the images.
    shard_size: number of rows in each input.

  Returns:
    Inputs, one for each shard.

  Raises:
    ValueError: it is not such a table, or has no row.
    OSError: it cannot be read.
    ModuleNotFoundError: it is a parquet file, and pyarrow is not installed.
  """
  read = _parquet if path.endswith(".parquet") else _text
  read = _beside if os.path.isdir(path) else read
  rows = [
    row._replace(image=_relative(row.image, folder)) for row in read(path)
  ]
  if not rows:
    raise ValueError(f"{files.shown(path)}: no row")
  return split(path, folder, rows, shard_size)


def split(
  path: str, folder: str, rows: Sequence[Row], shard_size: int
) -> list[Table]:
  """Splits rows into inputs.

  Args:
    path: file or folder that they come from.
    folder: folder of the images.
    rows: all rows.
    shard_size: number of rows in each input.

  Returns:
    Inputs, one for each shard.
  """
  return [
    Table(path, folder, i, tuple(rows[i : i + shard_size]))
    for i in range(0, len(rows), shard_size)
  ]


def digest(source: Table) -> str:
  """Computes a digest of names, sizes and times of an input's image files."""
  names = [row.image for row in source.rows]
  if os.path.isdir(source.path):
    names += [_text_of(name) for name in names]
  return grounded.digest_of_images(source.folder, names)


def is_folder(path: str) -> bool:
  """Checks whether a path is a folder of images with texts beside them."""
  return os.path.isdir(path) and any(
    os.path.isfile(_text_of(os.path.join(path, name)))
    for name in itertools.islice(_images(path), LOOKED_AT)
  )


def samples(source: Table) -> Iterator[tuple[str, Callable[[], Sample]]]:
  """Yields the key of each row of an input, with a function that reads it.

  The function returns the sample or raises RecordError.
  """
  for number, row in enumerate(source.rows, source.start):
    yield str(number), functools.partial(_sample, str(number), row, source)


def _sample(key: str, row: Row, source: Table) -> Sample:
  if not isinstance(row.caption, str):
    raise RecordError("no caption")
  image = grounded.load(source.folder, row.image)
  return Sample(key, row.caption, image, meta={"file_name": row.image})


def _relative(name: Any, folder: str) -> Any:
  """Makes an absolute path relative to the folder of the images."""
  if isinstance(name, str) and os.path.isabs(name):
    return os.path.relpath(name, os.path.abspath(folder))
  return name


def _columns(path: str, names: list[str]) -> tuple[str, str]:
  """Finds the columns of images and captions.

  Raises:
    TableError: there is none; the message lists the columns.
  """
  known = {name.strip().lower(): name for name in reversed(names)}
  found = [
    next((known[name] for name in wanted if name in known), None)
    for wanted in (IMAGES, CAPTIONS)
  ]
  if found[0] is None or found[1] is None:
    listed = ", ".join(files.shown(name, 40) for name in names[:12])
    raise TableError(
      f"{files.shown(path)}: has the columns {listed}; want one of images "
      f"({', '.join(IMAGES)}) and one of captions ({', '.join(CAPTIONS)}); "
      "images inside of a parquet cannot be read"
    )
  return found[0], found[1]


def _text(path: str) -> Iterator[Row]:
  """Reads a table of text; the separator is that of its first line."""
  text = files.read_text(pathlib.Path(path), MOST)
  head = text.partition("\n")[0]
  tabs = path.endswith(".tsv") or ("\t" in head and "," not in head)
  rows = csv.reader(
    text.splitlines(keepends=True) if "\r" in head else _lines(text),
    delimiter="\t" if tabs else ",",
    strict=True,
  )
  try:
    names = next(rows, [])
    image, caption = map(names.index, _columns(path, names))
    for row in rows:
      if row:
        cells = [*row, *[None] * len(names)]
        yield Row(cells[image], cells[caption])
  except csv.Error as error:
    where = f"{files.shown(path)}, line {rows.line_num}"
    raise ValueError(f"{where}: not a row of a table ({error})") from error


def _lines(text: str) -> Iterator[str]:
  return (f"{line}\n" for line in text.split("\n"))


def _beside(folder: str) -> Iterator[Row]:
  """Reads a folder of images and texts, in the order of their names."""
  for name in _images(folder):
    path = pathlib.Path(folder, _text_of(name))
    try:
      caption = files.read_text(path, MOST_CAPTION) if path.exists() else None
    except ValueError:
      caption = None  # such as of another encoding: counted as none
    yield Row(name, caption)


def _images(folder: str) -> Iterator[str]:
  """Yields the paths of images in a folder, relative to it, sorted."""
  for above, folders, names in os.walk(folder):
    folders.sort()
    for name in sorted(names):
      if name.lower().endswith(images.SUFFIXES) and not name.startswith("."):
        yield os.path.relpath(os.path.join(above, name), folder)


def _text_of(name: str) -> str:
  return f"{os.path.splitext(name)[0]}.txt"


def _parquet(path: str) -> Iterator[Row]:
  try:
    parquet = importlib.import_module("pyarrow.parquet")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f"{files.shown(path)} needs pyarrow: pip install 'hyperclip-jax[prepare]'"
    ) from error
  try:
    with parquet.ParquetFile(path) as file:
      image, caption = _columns(path, file.schema_arrow.names)
      left = MOST
      for batch in file.iter_batches(1024, columns=[image, caption]):
        left -= batch.nbytes
        if left < 0:
          raise TableError(
            f"{files.shown(path)}: more than {MOST:,} bytes of paths and "
            "captions"
          )
        for row in batch.to_pylist():
          yield Row(row[image], row[caption])
  except TableError:
    raise
  except Exception as error:  # pyarrow has many exception types
    raise ValueError(
      f"{files.shown(path)}: cannot be read ({error})"
    ) from error
