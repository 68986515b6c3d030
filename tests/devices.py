"""As if there were one device; tests have eight."""

import contextlib

import jax
import pytest


@contextlib.contextmanager
def one():
  """What is encoded inside sees the first device alone."""
  found = jax.local_devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "local_devices", lambda: found)
    patch.setattr(jax, "local_device_count", lambda: 1)
    yield
