"""The command report: writes a page on what a data set contains."""

import argparse

from hyperclip_jax.commands.door import fail
from hyperclip_jax.reports import data


def report(options: argparse.Namespace) -> None:
  """Writes the page."""
  try:
    census = data.write_report(
      options.shards,
      options.output,
      limit=options.limit,
      seed=options.seed,
      min_side=options.min_side,
    )
  except (ValueError, OSError) as error:
    fail(error)
  print(
    f"{options.output}: {census.records:,} good records, "
    f"{census.bad.total():,} bad"
  )
