"""Tests what the ProLIP paper says of uncertainty, on the embedded shapes.

  python -m benchmarks.prolip --output DIR [--seeds 0 1 2] [--steps 1600]
    [--set NAME=VALUE ...]

`configs/shapes_tiny.py:prolip` is trained once a seed, in DIR/prolip-SEED. Its
evaluation tells whether shorter and more general texts are more uncertain, and
whether the general includes the specific. Then eight prompts of mixed quality
are filtered by their uncertainty, or weighed by Bayesian prompt re-weighting
(BPRW). Its pool is every other object; the rest is scored.

The same command again continues where it was stopped, and two with other seeds
may share DIR. DIR/prolip.md has the means and sample standard deviations over
the seeds of all runs that are done.
"""

import argparse
import datetime
import fnmatch
import functools
import json
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

import hyperclip_jax
from benchmarks import systems
from hyperclip_jax.evals.metrics import prompts, zero_shot
from hyperclip_jax.evals.metrics.prompts import Pool
from hyperclip_jax.files import write_whole
from hyperclip_jax.inference import templates
from hyperclip_jax.training import runs, sources
from hyperclip_jax.training.config import Config

PROMPTS = (
  "{}",
  "a {}",
  "a picture of a {}",
  "a small {} in the corner",
  "a {} and something else",
  "shapes, one of them a {}",
  "something near a {}",
  "a picture of many things, perhaps with a {}",
)
OBJECTS = 1_920
CLAIMS = "claims.json"  # in the folder of a run that is done
ROWS = (
  *("zero_shot/top1", "zero_shot/top1_cosine", "zero_shot/uncertainty/*_corr"),
  *("retrieval/*_r1", "retrieval/*_r1_cosine", "retrieval/uncertainty/*_corr"),
  *("uncertainty/*", "includes/*", "prompts/*_top1"),
)


def config_of(seed: int, flags: argparse.Namespace) -> Config:
  """Makes the config of a run.

  Args:
    seed: seed of the run.
    flags: flags of the benchmark.

  Returns:
    Config.
  """
  spec = f"{systems.CONFIG}:prolip"
  config = systems.begun(spec, seed, flags.steps, flags.output)
  config.shapes.objects = OBJECTS
  systems.change(config, flags.set)
  return runs.anchored(config)


def claims(config: Config, workdir: pathlib.Path) -> dict[str, float]:
  """Trains and evaluates a run, and its prompts, unless that is done.

  Args:
    config: config of the run.
    workdir: its folder.

  Returns:
    Measures by name.
  """
  results = systems.trained(config, workdir)["results"]
  path = workdir / CLAIMS
  if path.exists():
    return json.loads(path.read_text())
  model = hyperclip_jax.load(workdir)
  run = runs.prepare(config, workdir)
  objects = sources.sample(config, run.sources).classes
  assert objects is not None
  names = sorted({*objects.labels})
  labels = np.array([names.index(label) for label in objects.labels])
  images = model.encode_image(objects.images)
  order = np.argsort(labels, kind="stable")  # so that each class is halved
  pool, scored = order[::2], order[1::2]
  rows = templates.embeddings(model, names, PROMPTS)
  rate = zero_shot.accuracies(model.space, images[scored], labels[scored])
  accuracy = functools.partial(rate, model.similarity)
  found = prompts.measures(
    rows, images[scored], accuracy, Pool("pool", images[pool], labels[pool])
  )
  found |= {
    f"prompts/all_{name}": value
    for name, value in accuracy(templates.classes(rows)).items()
  }
  content = results | found
  write_whole(path, json.dumps(content, indent=1) + "\n")
  return content


def table(output: pathlib.Path) -> str:
  """Formats the Markdown page of all runs in a folder.

  Args:
    output: folder with runs.

  Returns:
    Text.
  """
  done = sorted(output.glob(f"prolip-*/{CLAIMS}"))
  found = [json.loads(path.read_text()) for path in done]
  lines = [
    f"{datetime.date.today().isoformat()}, jax {jax.__version__}, "
    f"{jax.devices()[0].device_kind}; {len(found)} seeds.",
    "",
    "| | |",
    "| --- | --- |",
  ]
  names = sorted(set.intersection(*map(set, found)))
  for name in names:
    fits = any(fnmatch.fnmatchcase(name, row) for row in ROWS)
    if fits and not name.endswith(("_se", "_chance")):
      values = [run[name] for run in found]
      lines.append(f"| {name} | {systems.spread(values)} |")
  return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
  """Trains all runs, and writes the table."""
  flags = systems.parse(systems.flags_of(__doc__, 1_600), argv)
  for seed in flags.seeds:
    claims(config_of(seed, flags), flags.output / f"prolip-{seed}")
    write_whole(flags.output / "prolip.md", table(flags.output))
  print((flags.output / "prolip.md").read_text())


if __name__ == "__main__":
  main()
