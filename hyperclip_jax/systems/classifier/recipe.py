"""Recipes of papers on hyperbolic classifiers."""

from collections.abc import Sequence
from typing import Any

CIFAR10 = (
  *("airplane", "automobile", "bird", "cat", "deer"),
  *("dog", "frog", "horse", "ship", "truck"),
)


def poincare_resnet(
  config: Any,
  depth: int,
  classes: Sequence[str] = CIFAR10,
  parents: Sequence[tuple[str, str]] = (),
  examples: int = 50_000,
) -> Any:
  """Sets the CIFAR recipe of Poincare ResNet (van Spengler et al., 2023).

  Args:
    config: ConfigDict of a run of the system, as of `training.config.paper`.
    depth: 20 or 32.
    classes: names of the classes.
    parents: pairs of a node and its parent, of a hierarchy of the classes.
    examples: records of the data set.

  Returns:
    The config, whose shards are to be given.
  """
  config.batch_size = 128
  config.steps = 100 * (examples // config.batch_size)
  config.optim.update(learning_rate=1e-3, warmup=0, b2=0.999, weight_decay=1e-4)
  config.model.update(
    classes=tuple(classes),
    parents=tuple(parents),
    image_size=32,
    backbone="poincare_resnet",
    dtype="float32",
    pixel_mean=(0.5, 0.5, 0.5),
    pixel_std=(0.5, 0.5, 0.5),
  )
  config.model.resnet.update(depth=depth, widths=(8, 16, 32))
  config.data.update(canvas=32, crop_scale=(0.75, 1.0))
  config.data.distortions.flip = 0.5
  config.eval_every = 5 * (examples // config.batch_size)
  return config
