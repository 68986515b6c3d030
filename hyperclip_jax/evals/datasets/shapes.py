"""Evaluates on generated data sets, as at the end of a training run on them.

The embedded shapes need no download, and show whether a model learned anything
at all. Emoji are drawn by a vendor that training never sees.
"""

import functools
import pathlib

from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals import held_out
from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.evals.tasks import MissingData, Results, Task
from hyperclip_jax.inference.protocol import Model

_FILES = ("val/*.tar", "objects/*.tar", "hierarchy.json")
MIN_SIDE = 8  # of a box in pixels, as in configs/shapes_tiny.py


def _run(name: str, made_by: str, model: Model, data: pathlib.Path) -> Results:
  """Measures a model on the held-out scenes, as `held_out.evaluate` does."""
  folder = data / name
  if not all(any(folder.glob(files)) for files in _FILES):
    raise MissingData(
      name, made_by, "\n".join(f"{name}/{files}" for files in _FILES)
    )
  source = TarSource(expand(f"{folder}/val/*.tar"), MIN_SIDE)
  sample = held_out.load(str(folder), source, MIN_SIDE)
  results, embeddings, context = held_out.evaluate(model, sample)
  bins = norms.bins(norms.distances(model.space, embeddings))
  return {
    **{
      name.removeprefix(f"{sample.name}/"): value
      for name, value in (results | context).items()
    },
    **{f"root_distance/{name}": values for name, values in bins.items()},
  }


_MADE_BY = {
  "shapes": "a run of configs/shapes_tiny.py: its --config.shapes.folder",
  "emoji": "`hyperclip emoji`, see docs/emoji.md",
}
TASKS = tuple(
  Task(name, functools.partial(_run, name, made_by), {}, version=4)
  for name, made_by in _MADE_BY.items()
)
