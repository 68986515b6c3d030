"""Times a model in use: import, load, one picture, and what follows the towers.

python -m benchmarks.use [--size=S] [--rounds=5]

Prints seconds of a fresh process for the import and the load of a small
release, and milliseconds of warm calls of a model of the paper's size, with
random weights.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np

from hyperclip_jax import HyperCLIP
from hyperclip_jax.systems import dual_encoder, hycoclip, sizes
from hyperclip_jax.systems.dual_encoder import Text, Vision

FRESH = """
import sys, time
start = time.perf_counter()
import hyperclip_jax
imported = time.perf_counter()
hyperclip_jax.load(sys.argv[1])
print(imported - start, time.perf_counter() - imported)
"""
LABELS = [f"label {i}" for i in range(20)]


def main() -> None:
  """Prints a line for each measurement."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--size", default="S", choices=[*sizes.VIT])
  parser.add_argument("--rounds", type=int, default=5)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    small = pathlib.Path(folder) / "model"
    tiny = dataclasses.replace(
      hycoclip.Options(),
      image_size=32,
      vision=Vision(width=64, depth=2, heads=2, patch=8),
      text=Text(width=64, depth=2, heads=2),
      embed_dim=32,
      dtype="float32",
    )
    model("hycoclip", tiny, 64).save_pretrained(small)
    command = [sys.executable, "-c", FRESH, str(small)]
    for _ in range(given.rounds):
      done = subprocess.run(command, check=True, capture_output=True, text=True)
      imported, loaded = map(float, done.stdout.split())
      print(f"import {imported:.3f} s, load {loaded:.3f} s", flush=True)
  towers(given.size, given.rounds)


def towers(size: str, rounds: int) -> None:
  """Times one picture by a model for batches of 64 and of 1, in turn."""
  options = hycoclip.Options(vision=Vision(**sizes.VIT[size]), dtype="float32")
  models = {count: model("hycoclip", options, count) for count in (64, 1)}
  picture = np.zeros((224, 224, 3), np.uint8)
  index = models[64].index_texts(LABELS)
  works: dict[str, Callable[[], object]] = {
    f"one picture, batch_size={count}": lambda m=m: m.encode_image(picture)
    for count, m in models.items()
  }
  image, rows = models[64].encode_image(picture), index.embeddings
  works |= {
    "classify beside the encoder": lambda: models[64].probabilities(
      image, rows
    ),
    "similarity": lambda: models[64].similarity(image, rows),
    "entailment_score": lambda: models[64].entailment_score(rows, image),
    "distance_to_root": lambda: models[64].distance_to_root(rows),
    "search": lambda: models[64].search(image, index),
  }
  for work in works.values():
    work()
  for _ in range(rounds):
    for name, work in works.items():
      start = time.perf_counter()
      work()
      print(f"{name}: {1e3 * (time.perf_counter() - start):.2f} ms", flush=True)


def model(system: str, options: dual_encoder.Options, count: int) -> HyperCLIP:
  """Makes a model with random weights."""
  encoder = hycoclip.encoder(options)
  variables = jax.jit(encoder.init)(jax.random.key(0))
  return HyperCLIP(system, options, variables, count)


if __name__ == "__main__":
  main()
