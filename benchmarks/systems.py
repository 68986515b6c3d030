"""Trains the systems on the embedded shapes, and tabulates what they learn.

  python -m benchmarks.systems --output DIR [--systems hycoclip meru ...]
    [--seeds 0 1 2] [--steps 2400] [--images 256] [--set NAME=VALUE ...]
    [--config configs/emoji_small.py] [--no-equal-flops]

Each system's config, `configs/shapes_tiny.py` if none is given, is trained once
a seed, in DIR/SYSTEM-SEED, for the same number of steps and, in every step, of
images: batches are `--images` divided by the images that a system embeds of a
record, rounded down to a multiple of the devices. A system whose step has other
FLOPs than that of the first, by more than a twentieth, is trained once more in
DIR/SYSTEM-SEED-flops, in as many steps as have the FLOPs of the first one's,
unless `--no-equal-flops` is given.
`--set` holds for all of them. The same command again continues where it was
stopped; a run that has been evaluated is not trained again. DIR/systems.md has
the means and sample standard deviations over the seeds, DIR/systems.json all
numbers; both are written after every run.

Seconds of a step are medians over the log lines, on a machine that does nothing
else. FLOPs are XLA's before it optimises, of blocks that are unrolled and texts
that fill the context (see benchmarks/costs.py).
"""

import argparse
import datetime
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags as absl_flags

from benchmarks import costs, scaling
from hyperclip_jax.evals import held_out
from hyperclip_jax.evals.metrics import cones, norms
from hyperclip_jax.files import write_whole
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import (
  config_tree,
  log,
  progress,
  runs,
  sources,
  train,
)
from hyperclip_jax.training.config import Config

CONFIG = pathlib.Path(__file__).parents[1] / "configs/shapes_tiny.py"
NAMES = {"shapes_tiny": "the embedded shapes", "emoji_small": "emoji"}
ALIKE = 0.05  # by which FLOPs of a step may differ
AT_FLOPS = ("zero_shot/top1", "hierarchy/tie", "retrieval/i2t_r1")  # of ROWS
RESULTS = "benchmark.json"  # in the folder of a run that is done
ROWS = {
  "zero_shot/top1": "zero-shot, all classes",
  "zero_shot_held_out/top1": "zero-shot, unseen classes",
  "hierarchy/tie": "TIE, lower is better",
  "hierarchy/lca": "LCA, lower is better",
  "hierarchy/jaccard": "Jaccard",
  "hierarchy/precision": "hierarchical precision",
  "hierarchy/recall": "hierarchical recall",
  "hierarchy/same_parent": "right parent of the class",
  "hierarchy/same_grandparent": "right grandparent of the class",
  "hierarchy_wordnet/tie": "TIE in WordNet, lower is better",
  "words/ap": "words above > image: AP of entailment",
  "words/auroc": "words above > image: AUROC of entailment",
  "words/similarity_ap": "words above > image: AP of similarity",
  "words/similarity_auroc": "words above > image: AUROC of similarity",
  "words_distance/rank_correlation": "depth and distance of words, Spearman",
  "retrieval/i2t_r1": "image to text R@1",
  "retrieval/i2t_r5": "image to text R@5",
  "retrieval/t2i_r1": "text to image R@1",
  "retrieval/t2i_r5": "text to image R@5",
  **{
    f"cones/{name}/{measure}": (
      f"{relation.general} > {relation.specific}: {words}"
    ).replace("_", " ")
    for name, relation in cones.RELATIONS.items()
    for measure, words in (
      ("inside", "inside the cone"),
      ("shuffled", "shuffled pairs inside"),
      ("auroc", "AUROC of entailment"),
      ("similarity_auroc", "AUROC of similarity"),
      ("angle", "exterior angle, rad"),
      ("aperture", "half aperture, rad"),
    )
  },
  **{
    f"root_distance/{kind}_median": f"distance from the root, {kind}".replace(
      "_", " "
    )
    for kind in norms.KINDS
  },
}


def config_of(
  system: str, seed: int, steps: int, flags: argparse.Namespace, images: int
) -> Config:
  """Makes the config of a run.

  Args:
    system: name of the system.
    seed: seed of the run.
    steps: updates; the rise of the weight of entailment, if the config has one,
      takes the same share of them as of `--steps`.
    flags: flags of the benchmark.
    images: pictures that the system embeds of a record.

  Returns:
    Config.
  """
  config = begun(f"{flags.config}:{system}", seed, steps, flags.output)
  rows, devices = flags.images // images, jax.device_count()
  config.batch_size = max(devices, rows - rows % devices)
  change(config, flags.set)
  if "entail_ramp" in config.model:
    ramp = config.model.entail_ramp
    config.model.entail_ramp = round(ramp * steps / flags.steps)
  return runs.anchored(config)


def begun(spec: str, seed: int, steps: int, output: pathlib.Path) -> Config:
  """Makes the config of a run that is evaluated at its end alone.

  Args:
    spec: value of --config.
    seed: seed of the run.
    steps: updates.
    output: folder of all runs, which share their shapes.

  Returns:
    Config, which may be changed.
  """
  config = config_tree.load(spec)
  config.seed, config.steps, config.eval_every = seed, steps, 0
  config.optim.warmup = min(config.optim.warmup, steps)
  if "shapes" in config:
    config.shapes.folder = str(output / "shapes")
  return config


def change(config: Config, values: Sequence[str]) -> None:
  """Changes a config by "NAME=VALUE" of `--set`."""
  pairs = [value.partition("=") for value in values]
  config_lib.override(config, [(name, value) for name, _, value in pairs])


def trained(config: Config, workdir: pathlib.Path) -> dict[str, Any]:
  """Trains and evaluates a run, unless that is done.

  Args:
    config: config of the run.
    workdir: its folder, DIR/SYSTEM-SEED.

  Returns:
    Results by name, without the prefix of the sample; seconds of a step, and
    number of parameters.
  """
  run = runs.prepare(config, workdir)  # also checks that the config is the same
  path = workdir / RESULTS
  if path.exists():
    return json.loads(path.read_text())
  progress.say(f"\n{workdir.name}")
  model = train.train(run)
  if model is None:
    sys.exit(1)  # stopped by a signal
  found = held_out.evaluate(model, sources.sample(config, run.sources))
  results = {
    name.partition("/")[2]: value
    for name, value in (found.results | found.context).items()
  }
  rates = [
    row["samples_per_second"]
    for row in log.read(workdir)
    if "samples_per_second" in row
  ]
  content = {
    "results": results,
    "seconds": config.batch_size / statistics.median(rates) if rates else None,
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
  }
  write_whole(path, json.dumps(content, indent=1) + "\n")
  jax.clear_caches()
  return content


def spread(values: Sequence[float]) -> str:
  """Formats the mean, and the standard deviation of two values or more."""
  if not values:
    return ""
  mean = f"{statistics.mean(values):.3f}"
  if len(values) == 1:
    return mean
  return f"{mean} ± {statistics.stdev(values):.3f}"


def table(content: Mapping[str, Any]) -> str:
  """Formats the Markdown page.

  Args:
    content: what systems.json holds.

  Returns:
    Text.
  """
  found = content["systems"]
  first = next(iter(found.values()), {})

  def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

  lines = [
    f"# Systems on {NAMES.get(content['config'], content['config'])}",
    "",
    f"{content['date']}, jax {content['jax']}, {content['device']}; "
    f"{content['steps']} steps of {content['images']} images, seeds "
    f"{', '.join(map(str, content['seeds']))}.",
    "",
    row("", *found),
    f"|{' --- |' * (len(found) + 1)}",
  ]

  def add(name: str, words: str, at_flops: bool = False) -> None:
    cells = []
    for system in found.values():
      steps = steps_of(system, first, content["steps"])
      own = at_flops and steps != content["steps"]
      runs = system["runs_flops" if own else "runs"]
      values = [run["results"].get(name) for run in runs.values()]
      cells.append(spread([v for v in values if v is not None]))
    if any(cells):
      lines.append(row(words, *cells))

  for name, words in ROWS.items():
    add(name, words)
  if any(s["runs_flops"] for s in found.values()):
    steps = [steps_of(s, first, content["steps"]) for s in found.values()]
    lines.append(row("steps at equal FLOPs", *map(str, steps)))
    for name in AT_FLOPS:
      add(name, f"{ROWS[name]}, at equal FLOPs", at_flops=True)
  lines += [
    row("records a step", *(f"{s['batch_size']}" for s in found.values())),
    row("images a record", *(f"{s['images']}" for s in found.values())),
    row(
      "seconds of a step",
      *(
        spread([r["seconds"] for r in s["runs"].values() if r["seconds"]])
        for s in found.values()
      ),
    ),
    row(
      "GFLOP a step, XLA's count",
      *(f"{s['xla_flops'] / 1e9:.3g}" for s in found.values()),
    ),
    row(
      f"relative to {next(iter(found), '')}",
      *(f"{s['xla_flops'] / first['xla_flops']:.2f}" for s in found.values()),
    ),
  ]
  return "\n".join(lines) + "\n"


def measured(system: str, flags: argparse.Namespace) -> dict[str, Any]:
  """Counts the operations of a system's step on one device.

  Args:
    system: name of the system.
    flags: flags of the benchmark.

  Returns:
    batch_size, images of a record, FLOPs, and no "runs" and "runs_flops" yet.
  """
  mesh = scaling.make_mesh("cpu", 1)
  config = config_of(system, 0, flags.steps, flags, 1)
  run = runs.prepare(config, flags.output / "none")  # draws the shapes
  images = costs.images_of(run)
  config = config_of(system, 0, flags.steps, flags, images)
  batch = costs.batch_shapes(config, mesh)
  return {
    "batch_size": config.batch_size,
    "images": images,
    **costs.operations(config, mesh, batch),
    "runs": {},
    "runs_flops": {},
  }


def steps_of(
  found: Mapping[str, Any], first: Mapping[str, Any], steps: int
) -> int:
  """Returns the steps of a system that cost as much as those of the first.

  Args:
    found: result of `measured`.
    first: that of the first system.
    steps: its steps.

  Returns:
    Steps, at least 1; `steps` where a step of both costs alike.
  """
  ratio = first["xla_flops"] / found["xla_flops"]
  return steps if abs(ratio - 1) <= ALIKE else max(1, round(steps * ratio))


def flags_of(doc: str | None, steps: int) -> argparse.ArgumentParser:
  """Makes the flags of a comparison of runs.

  Args:
    doc: docstring of its module.
    steps: updates of a run by default.

  Returns:
    Parser, to which flags may be added.
  """
  parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--seeds", nargs="+", type=int, default=[0, 1, 2])
  add("--steps", type=int, default=steps)
  add("--set", nargs="*", default=[], help="config values, NAME=VALUE")
  return parser


def parse(
  parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
  """Parses the flags of a comparison of runs."""
  flags = parser.parse_args(argv)
  absl_flags.FLAGS.mark_as_parsed()  # grain reads absl flags
  flags.output = flags.output.expanduser().absolute()
  return flags


def main(argv: Sequence[str] | None = None) -> None:
  """Trains all runs, and writes the tables."""
  parser = flags_of(__doc__, 2_400)
  add = parser.add_argument
  add("--config", type=pathlib.Path, default=CONFIG)
  add("--systems", nargs="+", default=costs.names(), choices=costs.names())
  add("--images", type=int, default=256, help="of all views, a step")
  add("--equal-flops", action=argparse.BooleanOptionalAction, default=True)
  flags = parse(parser, argv)
  flags.output.mkdir(parents=True, exist_ok=True)
  systems = {name: measured(name, flags) for name in flags.systems}
  first = next(iter(systems.values()))
  content = {
    "date": datetime.date.today().isoformat(),
    "jax": jax.__version__,
    "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    "config": flags.config.stem,
    "steps": flags.steps,
    "images": flags.images,
    "seeds": flags.seeds,
    "systems": systems,
  }
  for seed in flags.seeds:  # each seed of all systems, so that a stop costs one
    for name, found in systems.items():
      folder = f"{name}-{seed}"
      config = config_of(name, seed, flags.steps, flags, found["images"])
      found["runs"][str(seed)] = trained(config, flags.output / folder)
      steps = steps_of(found, first, flags.steps)
      if steps != flags.steps and flags.equal_flops:
        config = config_of(name, seed, steps, flags, found["images"])
        run = trained(config, flags.output / f"{folder}-flops")
        found["runs_flops"][str(seed)] = run
      text = json.dumps(content, indent=1) + "\n"
      write_whole(flags.output / "systems.json", text)
      write_whole(flags.output / "systems.md", table(content))
  print((flags.output / "systems.md").read_text())


if __name__ == "__main__":
  main()
