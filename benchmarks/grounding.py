"""Measures grounding: how fast captions are parsed, and what it costs to train.

  python -m benchmarks.grounding --spacy_model=NAME [--captions=3000]
    [--train=16384] [--steps=800] [--seeds 0 1 2] [--threshold=0.5]
    [--noise=0.03] [--misses=0.15] [--false=0.3] [--output=DIR]

- parse: captions a second of wall time and of processor time, in one process,
  as `hyperclip ground` parses them.
- ground: shapes without their boxes, grounded with that parser and a planted
  detector that knows the true boxes, but draws them with noise, misses some and
  makes some up. Scores of true boxes are 0.5 to 1, of made-up ones 0.3 to 0.6:
  the threshold is what a review of some boxes would suggest. Printed are the
  shares of the true parts that come back, and of the parts found that are true.
- train (unless --steps is 0): configs/shapes_tiny.py on the true boxes and on
  the grounded ones, once for each seed; means and sample standard deviations of
  the last evaluation. With --output, runs stay there and the same command goes
  on where it was stopped.
"""

import argparse
import contextlib
import json
import math
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import planted
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.ground import run, text
from hyperclip_jax.data.ground.shard import Tools

WORDS = (
  "a wire hanger with a paper cover that reads we heart our customers",
  "Two men in red shirts playing football on a green field near the old town",
  "Red bag, black shoes and a white shirt, a photo of my cat",
  "The bride and groom walk down the aisle of the church after the ceremony",
  "Vintage 1960s silver ring with a large blue stone, size 7",
)
MEASURES = {
  *("zero_shot", "zero_shot_held_out", "hierarchy"),
  *("words", "retrieval", "cones"),
}
FACTS = ("_se", "_chance", "pairs", "classes", "images", "texts")


def parse(parser: str, count: int) -> None:
  """Prints how many captions are parsed a second."""
  rng = random.Random(0)
  captions = [f"{rng.choice(WORDS)} {rng.random()}" for _ in range(count)]
  loaded, abstract = text.load(parser), text.read_abstract()
  list(text.parse(loaded, captions[:200], abstract))
  wall, cpu = time.perf_counter(), time.process_time()
  for start in range(0, count, text.BATCH):
    list(text.parse(loaded, captions[start : start + text.BATCH], abstract))
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  print(
    f"parse: {count / wall:,.0f} captions a second of wall time, "
    f"{count / cpu:,.0f} of processor time"
  )


def ground(flags: argparse.Namespace, folder: pathlib.Path) -> None:
  """Grounds shapes and prints how many of their parts come back."""
  parser, count = flags.spacy_model, flags.train
  shapes.generate(folder / "shapes", train=count)
  pattern = f"{folder}/shapes/train/*.tar"
  settings = run.Settings("planted", parser)
  detect = planted.detect(pattern, flags.noise, flags.misses, flags.false)
  tools = Tools(run.parsing(settings), detect)
  options = planted.OPTIONS._replace(threshold=flags.threshold)
  made = run.ground([pattern], f"{folder}/grounded", options, lambda: tools)
  true = {r.meta["id"]: r for r in planted.records(pattern)}
  found = {r.meta["id"]: r for r in planted.records(f"{folder}/grounded")}
  names = {key: {p.text for p in r.parts} for key, r in true.items()}
  kept = {key: {p.text for p in r.parts} for key, r in found.items()}
  hits = sum(len(names[key] & own) for key, own in kept.items())
  print(
    f"ground: {made['totals']['records']:,} of {count:,} pairs; "
    f"{hits / sum(map(len, names.values())):.1%} of the true parts found, "
    f"{hits / max(sum(map(len, kept.values())), 1):.1%} of those found are true"
  )


def train(
  folder: pathlib.Path, name: str, shards: str, steps: int, seed: int
) -> dict[str, float]:
  """Trains on shards and returns the last evaluation."""
  workdir = folder / f"run_{name}_{seed}"
  results = workdir / "results.json"
  values = {
    "steps": steps,
    "seed": seed,
    "shapes.folder": f"{folder}/shapes",
    "shapes.train": len(planted.records(f"{folder}/shapes/train/*.tar")),
    "data.shards": shards,
  }
  if not results.exists():
    subprocess.run(
      [
        *(sys.executable, "-m", "hyperclip_jax", "train"),
        *("--config=configs/shapes_tiny.py", f"--workdir={workdir}"),
        *(f"--config.{key}={value}" for key, value in values.items()),
      ],
      check=True,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
  return json.loads(results.read_text())


def compare(runs: dict[str, list[dict[str, float]]]) -> list[str]:
  """Formats a row for each measure that all runs have.

  Args:
    runs: kind of boxes -> last evaluations, one of each seed.

  Returns:
    Lines such as "zero_shot/top1: true 0.660 ± 0.019, grounded ...".
  """
  everything = [results for kind in runs.values() for results in kind]
  lines = []
  for name in sorted(set.intersection(*map(set, everything))):
    _, measure = name.split("/", 1)  # of eval/retrieval/i2t_r1
    if measure.split("/")[0] not in MEASURES or measure.endswith(FACTS):
      continue
    cells = []
    for kind, results in runs.items():
      values = [float(result[name]) for result in results]
      spread = statistics.stdev(values) if len(values) > 1 else math.nan
      cells.append(f"{kind} {statistics.fmean(values):.3f} ± {spread:.3f}")
    lines.append(f"{measure}: {', '.join(cells)}")
  return lines


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--spacy_model", required=True)
  parser.add_argument("--captions", type=int, default=3000)
  parser.add_argument("--train", type=int, default=16_384)
  parser.add_argument("--steps", type=int, default=800)
  parser.add_argument("--seeds", type=int, nargs="+", default=[0])
  parser.add_argument("--threshold", type=float, default=0.5)
  parser.add_argument("--noise", type=float, default=0.03, help="of corners")
  parser.add_argument("--misses", type=float, default=0.15, help="of phrases")
  parser.add_argument("--false", type=float, default=0.3, help="of images")
  parser.add_argument("--output", type=pathlib.Path)
  options = parser.parse_args()
  parse(options.spacy_model, options.captions)
  place = (
    contextlib.nullcontext(options.output)
    if options.output
    else tempfile.TemporaryDirectory()
  )
  with place as name:
    folder = pathlib.Path(name)
    ground(options, folder)
    if options.steps:
      print(f"train: {options.steps} steps, seeds {options.seeds}")
      kinds = {
        "true": f"{folder}/shapes/train",
        "grounded": f"{folder}/grounded",
      }
      runs = {
        kind: [
          train(folder, kind, shards, options.steps, seed)
          for seed in options.seeds
        ]
        for kind, shards in kinds.items()
      }
      print("\n".join(compare(runs)))


if __name__ == "__main__":
  main()
