"""Embeddings on disk: a folder with the options, the names and the table."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax import files, sections
from hyperclip_jax.trees.embed import Epoch
from hyperclip_jax.trees.energy import energy
from hyperclip_jax.trees.options import Options

FILE, CONFIG = "embedding.npz", "config.json"
MOST = 2**34  # bytes of a table
# Options that may change when a run is resumed.
MAY_CHANGE = {"edges", "wordnet", "epochs", "eval_every", "eval_nodes"}


class Embedding(NamedTuple):
  """A trained embedding.

  Attributes:
    options: options that it was trained by.
    names: names of the nodes.
    table: coordinates of the nodes in the model of the options.
    epochs: epochs done.
  """

  options: Options
  names: tuple[str, ...]
  table: Float[np.ndarray, "nodes dim"]
  epochs: int

  @property
  def points(self) -> Float[np.ndarray, "nodes dim"]:
    """Points of the Lorentz model, by their space components."""
    return np.asarray(energy(self.options).lorentz(jnp.asarray(self.table)))


def save(
  folder: pathlib.Path, o: Options, names: Sequence[str], epoch: Epoch
) -> None:
  """Writes an embedding, atomically.

  Args:
    folder: existing folder.
    o: options of the embedding.
    names: names of the nodes.
    epoch: state to save.
  """
  values = json.dumps(dataclasses.asdict(o), indent=2)
  files.write_whole(folder / CONFIG, values + "\n")
  buffer = io.BytesIO()
  np.savez(
    buffer,
    names=np.array(names),
    table=np.asarray(epoch.table),
    epochs=np.array(epoch.number),
  )
  files.write_whole(folder / FILE, buffer.getvalue())


def load(folder: str | pathlib.Path) -> Embedding:
  """Reads an embedding.

  Args:
    folder: folder of `hyperclip embed`.

  Returns:
    The embedding.

  Raises:
    ValueError: a file is damaged or is something else.
    OSError: a file cannot be read.
  """
  folder = files.expanded(folder)
  where = folder / FILE
  try:
    values = files.read_json(folder / CONFIG)
    o = sections.build(Options, values)
    content = io.BytesIO(files.read_bytes(where, MOST))
    with np.load(content, allow_pickle=False) as found:
      names, table = found["names"], found["table"]
      epochs = int(found["epochs"])
  except (ValueError, TypeError, KeyError, EOFError) as error:
    raise ValueError(f"{folder}: no embedding: {error}") from error
  if table.shape != (len(names), o.dim) or not np.isfinite(table).all():
    raise ValueError(
      f"{where}: want {len(names)} rows of {o.dim} finite numbers, found "
      f"{table.shape}"
    )
  return Embedding(o, tuple(names.tolist()), table, epochs)


def resumed(
  folder: pathlib.Path, o: Options, names: Sequence[str]
) -> Embedding | None:
  """Reads the embedding to go on with.

  Args:
    folder: folder of the run.
    o: options given now.
    names: nodes found now.

  Returns:
    Embedding; None if there is none yet.

  Raises:
    ValueError: it has other options or other nodes.
  """
  if not (folder / FILE).exists():
    return None
  found = load(folder)
  old, new = dataclasses.asdict(found.options), dataclasses.asdict(o)
  changed = [
    f"config.{name} was {old[name]}, now {new[name]}"
    for name in old
    if old[name] != new[name] and name not in MAY_CHANGE
  ]
  if found.names != tuple(names):
    changed.append(
      f"the hierarchy had {len(found.names):,} nodes, now {len(names):,} or "
      "others"
    )
  if changed:
    raise ValueError(
      f"{folder} holds another embedding; give another --workdir or the old "
      "values:\n  " + "\n  ".join(changed)
    )
  return found
