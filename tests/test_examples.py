"""The examples in docstrings compute what they say."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import pytest

from hyperclip_jax import geometry, losses
from hyperclip_jax.geometry import spaces

# Every module of these packages has examples.
PACKAGES = (geometry, losses)
WITHOUT = {"hyperclip_jax.losses.tiled"}  # it needs a mesh of devices
MODULES = {
  f"{package.__name__}.{module.name}"
  for package in PACKAGES
  for module in pkgutil.iter_modules(package.__path__)
} - WITHOUT


def run(name, **values):
  """Runs the examples of a module in this process; returns their number."""
  module = importlib.import_module(name)
  names = vars(module) | {"jax": jax, "jnp": jnp, "spaces": spaces} | values
  runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
  for example in doctest.DocTestFinder().find(module, extraglobs=names):
    runner.run(example)
  found = runner.summarize(verbose=False)
  assert not found.failed
  return found.attempted


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples(name):
  assert run(name)
