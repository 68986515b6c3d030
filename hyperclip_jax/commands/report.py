"""The command report: compares runs, or describes a data set."""

import argparse
import pathlib

from hyperclip_jax import files
from hyperclip_jax.commands.door import fail
from hyperclip_jax.reports import comparison, data

COMPARISON = pathlib.Path("comparison.html")


def report(options: argparse.Namespace) -> None:
  """Writes the page."""
  try:
    if bool(options.runs) == bool(options.shards):
      raise ValueError(
        "give runs to compare, as in hyperclip report RUN RUN; or --shards "
        "and --output to describe data"
      )
    if options.runs:
      output = options.output or COMPARISON
      runs = [*map(files.expanded, options.runs)]
      comparison.write(runs, output, options.trust_system)
      print(f"{output}: {len(options.runs)} runs")
      return
    if options.output is None:
      raise ValueError("give --output=FILE: HTML file to write")
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
