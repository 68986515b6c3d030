"""Compares CLIP-Rocket's augmentation and extra losses on the embedded shapes.

  python -m benchmarks.rocket --output DIR [--wordnet /usr/share/wordnet]
    [--seeds 0 1 2] [--arms clip clip_rocket-both ...] [--steps 512]
    [--set NAME=VALUE ...]

`configs/shapes_tiny.py:rocket` is trained on 1,024 scenes in batches of 64, so
for 32 epochs, as in the paper, by 512 steps. An arm is a variant and what its
strong views change: nothing, pictures (image), captions (text), or both. `clip`
sees weak views alone; every other arm embeds two strong views more a record,
whatever they change. Everything else is the config's; nothing was tuned for an
arm.

The same command again continues where it was stopped, and two with other arms
or seeds may share DIR: runs lie in DIR/ARM-SEED. DIR/rocket.md has the means
and sample standard deviations over the seeds of all runs that are done.
"""

import argparse
import datetime
import json
import pathlib
from collections.abc import Sequence

import jax

from benchmarks import systems
from hyperclip_jax.files import write_whole
from hyperclip_jax.training import runs
from hyperclip_jax.training.config import Config

SCENES, BATCH = 1_024, 64
CHANGES = ("none", "image", "text", "both")
EXTRA = ("barlip", "siamlip", "byolip", "swalip")  # losses beside the contrast
ARMS = (
  "clip",
  *(f"clip_rocket-{change}" for change in CHANGES),
  *(f"{variant}-{change}" for variant in EXTRA for change in ("none", "both")),
)
ROWS = (
  *("zero_shot/top1", "zero_shot_held_out/top1", "hierarchy/tie"),
  *("retrieval/i2t_r1", "retrieval/t2i_r1"),
)


def config_of(arm: str, seed: int, flags: argparse.Namespace) -> Config:
  """Makes the config of a run.

  Args:
    arm: one of `ARMS`.
    seed: seed of the run.
    flags: flags of the benchmark.

  Returns:
    Config.
  """
  variant, _, change = arm.partition("-")
  spec = f"{systems.CONFIG}:rocket"
  config = systems.begun(spec, seed, flags.steps, flags.output)
  config.batch_size, config.shapes.train = BATCH, SCENES
  model = config.model
  model.variant = variant
  if variant == "swalip":
    model.smoothing = 0.0
  if change not in ("image", "both"):
    model.strong.crop_scale = config.data.crop_scale
    model.strong.distortions.update(jitter=0.0, blur=0.0)
  if change in ("text", "both"):
    model.edits.update(synonym=0.4, wordnet=flags.wordnet)
  else:
    model.edits.update(stop_words=0.0, swap=0.0, delete=0.0, keep=1.0)
  systems.change(config, flags.set)
  return runs.anchored(config)


def table(output: pathlib.Path) -> str:
  """Formats the Markdown page of all runs in a folder.

  Args:
    output: folder with runs ARM-SEED.

  Returns:
    Text.
  """
  lines = [
    f"{datetime.date.today().isoformat()}, jax {jax.__version__}, "
    f"{jax.devices()[0].device_kind}.",
    "",
    f"| | seeds | {' | '.join(systems.ROWS[name] for name in ROWS)} |",
    f"|{' --- |' * (len(ROWS) + 2)}",
  ]
  for arm in ARMS:
    done = sorted(output.glob(f"{arm}-[0-9]*/{systems.RESULTS}"))
    found = [json.loads(path.read_text())["results"] for path in done]
    if found:
      cells = [systems.spread([run[name] for run in found]) for name in ROWS]
      lines.append(f"| {arm} | {len(found)} | {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
  """Trains all runs, and writes the table."""
  parser = systems.flags_of(__doc__, 512)
  add = parser.add_argument
  add("--wordnet", default="/usr/share/wordnet", help="folder of its files")
  add("--arms", nargs="+", default=ARMS, choices=ARMS)
  flags = systems.parse(parser, argv)
  for seed in flags.seeds:  # each seed of all arms, so that a stop costs one
    for arm in flags.arms:
      systems.trained(
        config_of(arm, seed, flags), flags.output / f"{arm}-{seed}"
      )
      write_whole(flags.output / "rocket.md", table(flags.output))
  print((flags.output / "rocket.md").read_text())


if __name__ == "__main__":
  main()
