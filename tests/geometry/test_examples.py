"""The examples in the docstrings of the geometry."""

import doctest

import jax
import jax.numpy as jnp
import pytest

from hyperclip_jax.geometry import lorentz, poincare, stable


@pytest.mark.parametrize("module", [lorentz, poincare, stable])
def test_examples(module):
  names = vars(module) | {"jax": jax, "jnp": jnp}
  result = doctest.testmod(
    module, extraglobs=names, optionflags=doctest.ELLIPSIS
  )
  assert result.attempted > 0
  assert result.failed == 0
