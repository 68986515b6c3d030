"""Poincare ResNet-20 on CIFAR-10.

hyperclip prepare --input tfds:cifar10:train --output cifar10/train \
  --quality 100
hyperclip prepare --input tfds:cifar10:test --output cifar10/test --quality 100
hyperclip train --config=configs/poincare_resnet20_cifar10.py --workdir=DIR \
  --config.data.shards=cifar10/train --config.data.held_out=cifar10/test

The published run script's Adam, rate, decay and epochs; decay is decoupled
here, and crops are random resized ones instead of shifts by up to four pixels.
"""

from hyperclip_jax.systems.classifier.recipe import poincare_resnet
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  return poincare_resnet(paper("classifier"), depth=20)
