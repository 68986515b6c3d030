"""Times the embedding of WordNet's mammals, and that of gensim, in turn.

python -m benchmarks.embeddings [--rounds=3] [--epochs=20] [--gensim]

Prints seconds of all cores and of the clock for an epoch of 6,540 pairs, the
sampling of negatives counted and compilation not. Gensim is optional: `pip
install gensim` in an environment of its own. It redraws negatives until all are
distinct and unrelated, with which 50 of them take minutes; it is given 10.
"""

import argparse
import importlib
import logging
import time
from collections.abc import Callable
from typing import Any

from hyperclip_jax.trees import closure, embed, options
from hyperclip_jax.trees.closure import Closure

LEFT_OUT = ("tusker.n.01", "female_mammal.n.01")
Work = Callable[[int], None]  # trains some epochs more


def main() -> None:
  """Prints a line for each round and library."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--epochs", type=int, default=20)
  parser.add_argument("--wordnet", default="/usr/share/wordnet")
  parser.add_argument("--gensim", action="store_true")
  given = parser.parse_args()
  found = closure.nouns(given.wordnet)
  mammals = closure.closure(found, "mammal.n.01", LEFT_OUT)
  works = {
    f"{model}, {negatives} negatives": ours(mammals, model, negatives)
    for model in ("lorentz", "poincare")
    for negatives in (50, 10)
  }
  if given.gensim:
    works["gensim, 10 negatives"] = gensim(mammals)
  for work in works.values():
    work(2)
  for _ in range(given.rounds):
    for name, work in works.items():
      cpu, wall = time.process_time(), time.perf_counter()
      work(given.epochs)
      cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
      print(
        f"{name}: {cpu / given.epochs:.4f} CPU s, {wall / given.epochs:.4f} s",
        flush=True,
      )


def ours(mammals: Closure, model: str, negatives: int) -> Work:
  """Makes the work of this project."""
  o = options.Options(model=model, negatives=negatives, burn_in=0, epochs=10**6)
  state = embed.epochs(o, mammals, embed.start(o, len(mammals.names)))

  def work(epochs: int) -> None:
    for _ in range(epochs):
      next(state)

  return work


def gensim(mammals: Closure) -> Work:
  """Makes the work of gensim."""
  poincare = importlib.import_module("gensim.models.poincare")

  logging.disable(logging.CRITICAL)
  pairs = [(str(a), str(b)) for a, b in mammals.pairs.tolist()]
  model: Any = poincare.PoincareModel(pairs, size=5, negative=10, burn_in=0)
  return lambda epochs: model.train(epochs, batch_size=10, print_every=10**9)


if __name__ == "__main__":
  main()
