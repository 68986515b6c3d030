"""The examples in docstrings compute what they say."""

import doctest
import importlib
import pathlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax import geometry, losses, optim
from hyperclip_jax.geometry import spaces
from hyperclip_jax.nn import hyperbolic

# Every module of these packages has examples.
PACKAGES = (geometry, losses, optim, hyperbolic)
WITHOUT = {
  "hyperclip_jax.geometry.space",  # an interface
  "hyperclip_jax.losses.ring",  # it needs a mesh of devices, as the next
  "hyperclip_jax.losses.tiled",
}
MODULES = {
  f"{package.__name__}.{module.name}"
  for package in PACKAGES
  for module in pkgutil.iter_modules(package.__path__)
} - WITHOUT | {"hyperclip_jax.nn.separation", "hyperclip_jax.nn.gradients"}


def run(name, **values):
  """Runs the examples of a module in this process; returns their number."""
  module = importlib.import_module(name)
  names = vars(module) | {"jax": jax, "jnp": jnp, "spaces": spaces} | values
  runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
  # As for a user, without the strictness of the tests.
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    for example in doctest.DocTestFinder().find(module, extraglobs=names):
      runner.run(example)
  found = runner.summarize(verbose=False)
  assert not found.failed
  return found.attempted


def slow_or_not(name):
  """Layers take long to compile, so workers begin with them."""
  slow = name.startswith(hyperbolic.__name__)
  return pytest.param(name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
  "name", [slow_or_not(name) for name in sorted(MODULES)]
)
def test_examples(name):
  assert run(name)


def test_examples_of_a_model():
  mini = pathlib.Path(__file__).parent / "golden" / "hycoclip_mini_init.pth"
  model = hyperclip_jax.load(mini, vision_heads=4, text_heads=2)
  assert run("hyperclip_jax.inference.model", model=model, np=np) > 15
