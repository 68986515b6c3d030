"""Poincare ResNet-32 on CIFAR-10; see `poincare_resnet20_cifar10.py`."""

from hyperclip_jax.training.config import Config
from hyperclip_jax.training.recipes import poincare_resnet


def get_config() -> Config:
  return poincare_resnet(depth=32)
