"""Poincare ResNet-32 on CIFAR-10; see `poincare_resnet20_cifar10.py`."""

from hyperclip_jax.systems.classifier.recipe import poincare_resnet
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  return poincare_resnet(paper("classifier"), depth=32)
