"""Times a model in use: import, load, one picture, and what follows the towers.

python -m benchmarks.use [--size=S] [--rounds=5]

Prints seconds of fresh processes for the import and the load of the model that
comes with the package, and medians of milliseconds of warm calls: of a model of
the paper's size, with random weights, and of the demo page; then the largest
difference of embeddings in ONNX Runtime.
"""

import argparse
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
import onnxruntime

import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.commands import demo
from hyperclip_jax.inference import onnx
from hyperclip_jax.inference.explore import Things, explore
from hyperclip_jax.reports import answer
from hyperclip_jax.systems import hycoclip, sizes
from hyperclip_jax.systems.dual_encoder import Vision

FRESH = """
import sys, time
start = time.perf_counter()
import hyperclip_jax
imported = time.perf_counter()
hyperclip_jax.load("emoji-mini")
print(imported - start, time.perf_counter() - imported)
"""
WORDS = ("dog", "red apple", "car", "tree", "house", "boat", "hat", "bell")
ROWS = (20, 1_000, 10_000)  # labels, phrases or entries of an index
LABELS = [f"label {i}" for i in range(20)]


def main() -> None:
  """Prints a line for each measurement."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="S", choices=[*sizes.VIT])
  parser.add_argument("--rounds", type=int, default=5)
  given = parser.parse_args()
  for _ in range(given.rounds):
    done = subprocess.run(
      [sys.executable, "-c", FRESH], check=True, capture_output=True, text=True
    )
    imported, loaded = map(float, done.stdout.split())
    print(f"import {imported:.3f} s, load {loaded:.3f} s", flush=True)
  towers(given.size, given.rounds)
  page(given.rounds)
  exported()


def towers(size: str, rounds: int) -> None:
  """Times one picture by a model for batches of 64 and of 1, in turn."""
  options = hycoclip.Options(vision=Vision(**sizes.VIT[size]), dtype="float32")
  models = {count: model(options, count) for count in (64, 1)}
  picture = np.zeros((224, 224, 3), np.uint8)
  works: dict[str, Callable[[], object]] = {
    f"one picture, batch_size={count}": lambda m=m: m.encode_image(picture)
    for count, m in models.items()
  }
  measure(works, rounds)
  for count in ROWS:
    print(f"{count:,} rows")
    measure(after_towers(models[64], count), rounds)


def after_towers(
  model: HyperCLIP, count: int
) -> dict[str, Callable[[], object]]:
  """Makes the calls that follow the towers, with one picture and some rows.

  Each call but search has another number of rows, so that none is compiled
  for.

  Args:
    model: model that makes the embeddings.
    count: rows of the first call.

  Returns:
    Calls by name.
  """
  image = model.encode_image(np.zeros((224, 224, 3), np.uint8))
  some = model.encode_text(LABELS)
  rows = np.tile(some, (-(-2 * count // len(some)), 1))
  names = [f"{row}" for row in range(len(rows))]
  index = model.index(rows[:count], names[:count])
  sizes = itertools.count(count)

  def new() -> np.ndarray:
    return rows[: next(sizes)]

  return {
    "classify beside the encoder": lambda: model.probabilities(image, new()),
    "similarity": lambda: model.similarity(image, new()),
    "entailment_score": lambda: model.entailment_score(new(), image),
    "distance_to_root": lambda: model.distance_to_root(new()),
    "search": lambda: model.search(image, index),
  }


def page(rounds: int) -> None:
  """Times an answer of the demo page, and what it encodes alone."""
  shown = hyperclip_jax.load("emoji-mini", batch_size=demo.BATCH)
  picture, phrases = np.zeros((48, 48, 3), np.uint8), LABELS[:10]
  things = Things(shown.index_texts(LABELS), [None] * len(LABELS))

  def tables() -> object:
    found = explore(shown, picture, phrases, things)
    return answer.tables(shown, picture, phrases, things, found)

  found = explore(shown, picture, phrases, things)
  measure(
    {
      "demo, the encoder alone": lambda: (
        shown.encode_image(picture),
        shown.encode_text(phrases),
      ),
      "demo, tables with it": tables,
      "demo, figures": lambda: answer.figures(shown, phrases, found),
    },
    rounds,
  )


def exported() -> None:
  """Compares emoji-mini's towers in ONNX Runtime with the model itself."""
  model = hyperclip_jax.load("emoji-mini")
  rng = np.random.default_rng(0)
  pictures = [*rng.integers(0, 255, (64, 60, 60, 3), np.uint8)]
  texts = [f"a {one} and a {two}" for one in WORDS for two in WORDS]
  with tempfile.TemporaryDirectory() as folder:
    image, text = (
      onnxruntime.InferenceSession(path)
      for path in onnx.export(model, pathlib.Path(folder))
    )
  pixels, tokens = model.preprocess(pictures), model.tokenizer(texts)
  (images,) = image.run(["embeddings"], {"pixels": pixels})
  (rows,) = text.run(["embeddings"], {"tokens": tokens})
  for kind, found, wanted in (
    ("images", images, model.encode_image(pixels)),
    ("texts", rows, model.encode_text(texts)),
  ):
    difference = np.abs(np.asarray(found) - wanted).max()
    print(f"ONNX, {len(wanted)} {kind}: {difference:.1e}")


def measure(works: Mapping[str, Callable[[], object]], rounds: int) -> None:
  """Prints the median time of each work, in turn after one call of each."""
  times: dict[str, list[float]] = {name: [] for name in works}
  for number in range(rounds + 1):
    for name, work in works.items():
      start = time.perf_counter()
      work()
      if number:
        times[name].append(1e3 * (time.perf_counter() - start))
  for name, found in times.items():
    print(f"{name}: {statistics.median(found):.2f} ms", flush=True)


def model(options: hycoclip.Options, count: int) -> HyperCLIP:
  """Makes a model with random weights."""
  encoder = hycoclip.encoder(options)
  variables = jax.jit(encoder.init)(jax.random.key(0))
  return HyperCLIP("hycoclip", options, variables, count)


if __name__ == "__main__":
  main()
