"""A small classifier of the embedded shapes, on one CPU in minutes.

hyperclip train --config=configs/shapes_classes.py --workdir=DIR

After a colon stands the level of the classes, from coarse to fine: `:families`
(3), `:shapes` (12) or `:leaves` (96, coloured shapes), or `:seen`, the 84 of
these in training, with which evaluation measures how well the other twelve are
told from them.
"""

from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.embedded.captions import FAMILIES, FAMILY
from hyperclip_jax.training.config import Config, Shapes, add_shapes, paper

LEVELS = {
  "families": tuple(FAMILIES),
  "shapes": tuple(FAMILY),
  "leaves": shapes.LEAVES,
  "seen": shapes.SEEN,
}


def get_config(level: str = "leaves") -> Config:
  if level not in LEVELS:
    raise ValueError(f"want one of {', '.join(LEVELS)}, found {level!r}")
  config = paper("classifier")
  config.batch_size = 128
  config.steps = 600
  edges = ((n, p) for n, above in shapes.hierarchy().items() for p in above)
  config.model.update(
    classes=LEVELS[level],
    parents=tuple(edges),
    image_size=48,
    backbone="resnet",
    head="poincare_mlr",
    dtype="float32",
  )
  config.model.resnet.update(blocks=(1, 1, 1), widths=(16, 32, 64))
  config.optim.update(learning_rate=2e-3, warmup=50, weight_decay=1e-3)
  config.data.update(
    canvas=64, min_side=8, crop_scale=(0.9, 1.0), threads=1, prefetch=2
  )
  add_shapes(config, Shapes(folder="data/shapes", train=16_384, val=512))
  config.log_every = 50
  config.eval_every = 200
  config.checkpoint.update(every=200, keep=2)
  return config
