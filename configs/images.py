"""A Euclidean ResNet with a hyperbolic head, on classes of your own.

hyperclip prepare --input DIR/train --output prepared/train
hyperclip prepare --input DIR/val --output prepared/val
hyperclip train --config=configs/images.py:LABELS.csv --workdir=DIR \
  --config.data.shards=prepared/train --config.data.held_out=prepared/val

Images are in DIR/train/CLASS/*.jpg. A row of LABELS.csv is CLASS or
NODE,PARENT; with parents, evaluation measures hierarchical errors.
"""

from hyperclip_jax.systems.classifier import labels
from hyperclip_jax.training.config import Config, paper


def get_config(path: str = "labels.csv") -> Config:
  found = labels.read(path)
  config = paper("classifier")
  config.model.update(
    classes=found.classes,
    parents=found.edges,
    backbone="resnet",
    head="poincare_mlr",
  )
  config.data.distortions.flip = 0.5
  return config
