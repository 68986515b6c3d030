"""Strict JAX: rank and dtype promotion raise, 8 devices, checked shapes."""

import os

os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MPLBACKEND"] = "Agg"

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hyperclip_jax", "beartype.beartype")


@pytest.fixture
def standard_promotion():
  """For what runs optax or bfloat16 flax layers, which promote on purpose."""
  with jax.numpy_dtype_promotion("standard"):
    yield
