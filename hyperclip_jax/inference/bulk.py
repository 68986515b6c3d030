"""Embeds many images or texts into one file; a killed process can go on.

Results are kept in parts, in a folder beside the output, until all are there.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperclip_jax import files
from hyperclip_jax.geometry import spaces
from hyperclip_jax.inference.encoder import EncodedFiles
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.progress import bar

PART = 4096  # rows of a part
PLAN = "plan.json"
FORMS = (".npy", ".npz", ".parquet")


class Done(NamedTuple):
  """Result of `embed`.

  Attributes:
    rows: number of rows of the file.
    left_out: reason for each image that could not be read, by its name.
  """

  rows: int
  left_out: dict[str, str]


def check(output: pathlib.Path) -> None:
  """Checks that a file can be written, before any work.

  Args:
    output: file to write, ending in one of `FORMS`.

  Raises:
    FileExistsError: it exists.
    ImportError: an extra is missing.
    OSError: its folder cannot be written to.
    ValueError: it has another ending.
  """
  if output.suffix not in FORMS:
    raise ValueError(f"{output}: want a name that ends in {', '.join(FORMS)}")
  if output.exists():
    raise FileExistsError(f"{output} exists: remove it, or give another name")
  if output.suffix == ".parquet":
    _pyarrow()
  output.parent.mkdir(parents=True, exist_ok=True)
  if not os.access(output.parent, os.W_OK):
    raise PermissionError(f"{output.parent} cannot be written to")


def embed(
  model: HyperCLIP,
  output: pathlib.Path,
  names: Sequence[str],
  images: Sequence[Any] | None = None,
) -> Done:
  """Embeds images or texts into a file; the same call resumes a killed one.

  A `.npz` holds "embeddings" (n, dim) float32, "names" and "info", a JSON with
  the model's fingerprint and space, and the images that were left out. A
  `.parquet` has the columns name and embedding, with the JSON in its metadata;
  beside a `.npy`, the names are in the JSON file NAME.npy.json.

  Args:
    model: model to use.
    output: file to write, see `check`.
    names: names of the images, or the texts themselves.
    images: images, as for `HyperCLIP.encode_image`; None for texts.

  Returns:
    Number of rows, and what was left out.

  Raises:
    OSError: a file cannot be written.
    ValueError: parts of another call are in the way, or another process is
      writing them.
  """
  check(output)
  space = spaces.to_json(model.space)
  folder = output.with_name(f"{output.name}.parts")
  folder.mkdir(exist_ok=True)
  with files.lock(folder):
    _settle(folder, _plan(model, names, images is None))
    starts = range(0, len(names), PART)
    for start in bar(starts, "parts", len(starts)):
      path = folder / f"{start:012d}.npz"
      if not path.exists():
        own = slice(start, start + PART)
        files.write_whole(
          path, _packed(_encoded(model, names[own], images and images[own]))
        )
    parts = [folder / f"{start:012d}.npz" for start in starts]
    left_out = {k: v for part in parts for k, v in _left_out(part).items()}
    info = {
      "system": model.system,
      "model": model.fingerprint,
      "space": space,
      "left_out": left_out,
    }
    rows = sum(len(_names(part)) for part in parts)
    _join(output, parts, (rows, model.width), json.dumps(info))
    shutil.rmtree(folder)
  return Done(rows, left_out)


def _plan(model: HyperCLIP, names: Sequence[str], texts: bool) -> str:
  """Says what the parts are of, so that others are not taken for them."""
  listed = hashlib.sha256()
  for name in names:
    listed.update(name.encode("utf-8", "surrogateescape") + b"\0")
  plan = {
    "model": model.fingerprint,
    "kind": "texts" if texts else "images",
    "names": [len(names), listed.hexdigest()],
    "part": PART,
  }
  return json.dumps(plan, indent=2) + "\n"


def _settle(folder: pathlib.Path, plan: str) -> None:
  path = folder / PLAN
  if not path.exists():
    files.write_whole(path, plan)
  elif files.read_text(path) != plan:
    raise ValueError(
      f"{folder} has parts of another model or other inputs: remove it, or "
      "give another output"
    )


def _encoded(
  model: HyperCLIP, names: Sequence[str], images: Sequence[Any] | None
) -> EncodedFiles:
  if images is None:
    return EncodedFiles(model.encode_text(names), [*names], {})
  return model.encode_named(names, images)


def _packed(found: EncodedFiles) -> bytes:
  buffer = io.BytesIO()
  np.savez(
    buffer,
    embeddings=found.embeddings,
    names=_bytes(found.names),
    left_out=_bytes(found.left_out),
  )
  return buffer.getvalue()


def _bytes(value: Any) -> np.ndarray:
  return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _read(part: pathlib.Path, key: str) -> Any:
  with np.load(part, allow_pickle=False) as file:
    return file[key]


def _names(part: pathlib.Path) -> list[str]:
  return json.loads(_read(part, "names").tobytes())


def _left_out(part: pathlib.Path) -> dict[str, str]:
  return json.loads(_read(part, "left_out").tobytes())


def _join(
  output: pathlib.Path,
  parts: Sequence[pathlib.Path],
  shape: tuple[int, int],
  info: str,
) -> None:
  """Writes the output, a part at a time; it is complete or absent."""
  with _partial(output) as path:
    if output.suffix == ".parquet":
      _parquet(path, parts, shape[1], info)
      return
    names = [name for part in parts for name in _names(part)]
    if output.suffix == ".npy":
      beside = {"names": names, **json.loads(info)}
      files.write_whole(
        output.with_name(f"{output.name}.json"), json.dumps(beside) + "\n"
      )
      with path.open("wb") as file:
        _write_rows(file, parts, shape)
      return
    with zipfile.ZipFile(path, "w") as archive:
      # A ZipInfo has a fixed date: the same input gives the same bytes.
      entry = zipfile.ZipInfo("embeddings.npy")
      with archive.open(entry, "w", force_zip64=True) as file:
        _write_rows(file, parts, shape)
      for name, value in (("names", np.array(names, str)), ("info", info)):
        entry = zipfile.ZipInfo(f"{name}.npy")
        with archive.open(entry, "w", force_zip64=True) as file:
          np.lib.format.write_array(file, np.array(value), allow_pickle=False)


@contextlib.contextmanager
def _partial(output: pathlib.Path) -> Iterator[pathlib.Path]:
  """Context manager of a file that becomes the output at the end."""
  path = output.with_name(f".{output.name}.partial")
  try:
    yield path
    path.replace(output)
  finally:
    path.unlink(missing_ok=True)


def _write_rows(
  file: Any, parts: Sequence[pathlib.Path], shape: tuple[int, int]
) -> None:
  header = {"descr": "<f4", "fortran_order": False, "shape": shape}
  np.lib.format.write_array_header_1_0(file, header)
  for part in parts:
    file.write(_read(part, "embeddings").astype("<f4").tobytes())


def _parquet(
  path: pathlib.Path, parts: Sequence[pathlib.Path], width: int, info: str
) -> None:
  pa, parquet = _pyarrow()
  kind = pa.list_(pa.float32(), width)
  schema = pa.schema(
    [("name", pa.string()), ("embedding", kind)], {"hyperclip_jax": info}
  )
  with parquet.ParquetWriter(path, schema) as writer:
    for part in parts:
      flat = pa.array(_read(part, "embeddings").ravel(), pa.float32())
      rows = pa.FixedSizeListArray.from_arrays(flat, width)
      columns = [pa.array(_names(part), pa.string()), rows]
      writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _pyarrow() -> tuple[Any, Any]:
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError as error:
    raise ImportError(
      ".parquet needs an extra: pip install 'hyperclip-jax[prepare]', or give "
      "an output of .npz"
    ) from error
  return pyarrow, pyarrow.parquet
