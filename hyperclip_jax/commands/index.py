"""The command index: builds the offset indices of tars in advance."""

import argparse

from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.records import index as index_lib
from hyperclip_jax.data.records import indices, shards


def index(options: argparse.Namespace) -> None:
  """Builds missing indices; fails with the names of tars that lack one."""
  folder = str(options.folder or "")
  try:
    paths = shards.expand(options.shards)
    found = dict(zip(paths, indices.find(paths, folder), strict=True))
    bad = [str(e) for e in found.values() if isinstance(e, Exception)]
    bad += [
      f"{path}: its index cannot be kept: give --folder=DIR"
      for path, made in found.items()
      if isinstance(made, index_lib.Index)
      and index_lib.cached(path, folder) is None
    ]
  except (ValueError, OSError) as error:
    fail(error)
  if bad:
    fail("\n".join(bad))
  print(f"{len(paths)} tars have an index")
