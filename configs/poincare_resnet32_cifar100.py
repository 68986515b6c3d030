"""Poincare ResNet-32 on CIFAR-100, whose hierarchy is in `cifar100.csv`.

Data and recipe are as in `poincare_resnet20_cifar10.py`, with tfds:cifar100.
Evaluation measures hierarchical errors, too.
"""

import pathlib

from hyperclip_jax.systems.classifier import labels
from hyperclip_jax.systems.classifier.recipe import poincare_resnet
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  found = labels.read(pathlib.Path(__file__).with_name("cifar100.csv"))
  return poincare_resnet(paper("classifier"), 32, found.classes, found.edges)
