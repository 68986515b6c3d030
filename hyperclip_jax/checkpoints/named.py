"""Models by name: where they lie, and under which licence.

Small ones come with the package, in a folder of `assets`; the others are on the
hub.
"""

import functools
import json
import pathlib
from importlib import resources
from typing import NamedTuple

from hyperclip_jax import files
from hyperclip_jax.checkpoints import hub
from hyperclip_jax.sections import closest

TABLE = "assets/named.json"


class Named(NamedTuple):
  """A model that `load` knows by name.

  Attributes:
    system: name of its system.
    repository: "org/name" on the Hugging Face hub; "" if it comes with the
      package, or is not known to be on the hub.
    file: file of the repository; "" for a folder of config.json and weights.
    licence: licence that its page states; "" if it was not seen.
    sha256: digest of the file, which is checked; "" if it is not known.
    note: what else to know.
  """

  system: str
  repository: str
  file: str = ""
  licence: str = ""
  sha256: str = ""
  note: str = ""


@functools.cache
def models() -> dict[str, Named]:
  """Reads the table of models, by name."""
  table = resources.files("hyperclip_jax.checkpoints").joinpath(TABLE)
  rows = json.loads(table.read_text("utf-8"))
  return {name: Named(**row) for name, row in rows.items()}


def bundled(name: str) -> pathlib.Path | None:
  """Finds a model that comes with the package.

  Args:
    name: key of `models`.

  Returns:
    Its folder, written by `save_pretrained`; None if it lies elsewhere.
  """
  folder = pathlib.Path(__file__).with_name("assets") / name
  return folder if folder.is_dir() else None


def source(name: str) -> str:
  """Returns the address of a model on the hub.

  Args:
    name: key of `models`.

  Returns:
    Address for `hub.download`.

  Raises:
    ValueError: it is not known where the model lies.
  """
  model = models()[name]
  if not model.repository:
    raise ValueError(f"{name}: no place on the hub is known: {model.note}")
  file = f"/{model.file}" if model.file else ""
  return f"{hub.PREFIX}{model.repository}{file}"


def check(name: str, path: pathlib.Path) -> None:
  """Checks the digest of a model's file, if it is known.

  Args:
    name: key of `models`.
    path: downloaded file.

  Raises:
    ValueError: the digest is another.
  """
  wanted = models()[name].sha256
  if not wanted or not path.is_file():
    return
  found = files.sha256(path)
  if found != wanted:
    raise ValueError(
      f"{path}: not the {name} that was published: its SHA-256 is {found}, "
      f"want {wanted}; delete it to download it again"
    )


def meant(name: str) -> str:
  """Suggests the model that a source was probably meant to name.

  Args:
    name: source that is neither a path nor a name.

  Returns:
    Part of a message; "" if no name is similar.
  """
  known = [
    name
    for name, model in models().items()
    if model.repository or bundled(name)
  ]
  near = closest(name.lower().replace("_", "-"), known)
  return f"; did you mean {near}?" if near else ""
