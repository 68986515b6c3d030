"""A run small enough for tests: one thin layer a tower, 256 scenes."""

import functools
import pathlib
import tempfile

from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config

# XLA takes far longer to compile a step than to make some, and the number of
# steps is in its schedule: tests that make a few take this many or the default,
# whose programs are compiled once for all.
MANY = 20


@functools.cache
def shapes_folder() -> str:
  """The embedded data set in small, made once a test session."""
  folder = pathlib.Path(tempfile.mkdtemp()) / "shapes"
  shapes.generate(folder, train=256, val=48, objects=96, image_size=32)
  return str(folder)


def config(system: str = "hycoclip", steps: int = 6) -> Config:
  """A valid config over `shapes_folder`."""
  c = config_lib.paper(system, "S")
  c.steps = steps
  c.batch_size = 16
  c.model.image_size = 32
  c.model.vision.update(width=32, depth=2, heads=2, patch=8)
  if "init_std" in c.model.vision:
    c.model.vision.init_std = 0.1
  c.data.text_buckets = c.data.text_buckets[-1:]
  if "text" in c.model:
    # A table of all 49,408 tokens would take most of a step.
    c.model.text.update(width=32, depth=2, heads=2, context=32, vocab=4_096)
    c.data.text_buckets = (32,)  # each is a program of its own
    c.model.embed_dim = 16
  if "text_mask" in c.model:
    c.model.text.mask_id = 4_000
    # The width of texts; masks that do not depend on how a batch is split.
    c.model.update(embed_dim=32, text_mask=1.0, image_keep_ratio=1.0)
  if "lora" in c.model:
    c.model.lora.dropout = 0.0  # its masks depend on how a batch is split
  c.model.dtype = "float32"
  if "projector_hidden" in c.model:
    c.model.projector_hidden = 32
    c.model.barlow.update(hidden=16, out=24)
    c.model.siam.update(hidden=16, out=8)
    c.model.swap.update(hidden=16, out=8, prototypes=12)
  c.optim.learning_rate = 1e-3
  c.optim.warmup = 2
  c.data.canvas = 32
  c.data.min_side = 4
  c.data.threads = 2
  c.data.prefetch = 2
  config_lib.add_shapes(
    c,
    config_lib.Shapes(
      folder=shapes_folder(), train=256, val=48, objects=96, image_size=32
    ),
  )
  c.log_every = 1
  c.eval_every = 0
  c.checkpoint.every = 2
  return c
