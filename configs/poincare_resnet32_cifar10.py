"""Poincare ResNet-32 on CIFAR-10.

hyperclip train --config=configs/poincare_resnet32_cifar10.py --workdir=DIR \
  --config.data.shards='cifar10/train/*.tar' \
  --config.data.held_out='cifar10/test/*.tar'

A record is an image, KEY.png, and the name of its class, KEY.txt
(docs/hyperbolic.md). The published run script's Adam, rate, decay and epochs;
decay is decoupled here, and crops are random resized ones instead of shifts by
up to four pixels.
"""

from hyperclip_jax.training.config import Config
from hyperclip_jax.training.recipes import poincare_resnet


def get_config() -> Config:
  return poincare_resnet(depth=32)
