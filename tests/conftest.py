"""Strict JAX: rank and dtype promotion raise, 8 devices, checked shapes.

Tests run on the CPU; HYPERCLIP_TEST_PLATFORM=cuda runs those of one device on a
GPU, with JAX_DEFAULT_MATMUL_PRECISION=highest as the tolerances want it.
"""

import collections
import gc
import os

from tests import programs

os.environ["JAX_PLATFORMS"] = programs.PLATFORM
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    f"--{programs.KERNELS}=false" if programs.TWO_WAYS else "",
    "--xla_force_host_platform_device_count=8",
    # On a busy machine the devices' threads wait long for each other; XLA
    # would end the process after 40 seconds.
    "--xla_cpu_collective_call_terminate_timeout_seconds=900",
    "--xla_cpu_collective_timeout_seconds=900",
  ]
)
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["MPLBACKEND"] = "Agg"

# Each program is compiled once, by whichever test, process or run comes first.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(programs.FOLDER)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Most of the time of most tests is compilation, of programs that run a few
# times: these are less optimized. Tests of numbers use the fixture `optimized`.
if programs.PLATFORM == "cpu":
  os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import pytest
from jax._src import compiler
from jaxtyping import install_import_hook

install_import_hook("hyperclip_jax", "beartype.beartype")

# Tracing makes many objects that live long: the collector seldom finds any.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_finish():
  gc.collect()
  gc.freeze()


def pytest_configure(config):
  config.option.loadscopereorder = False  # pytest-xdist's, by number of tests
  if "PYTEST_XDIST_WORKER" not in os.environ:
    programs.forget_old()


def pytest_collection_modifyitems(items):
  """Files with slow tests come first, so that workers end together."""
  slow = collections.Counter(
    item.path for item in items if item.get_closest_marker("slow")
  )
  items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def standard_promotion():
  """For what runs optax or bfloat16 flax layers, which promote on purpose."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def optimized():
  """Programs of a module are compiled as they are for users."""
  name = "jax_disable_most_optimizations"
  before = jax.config.read(name)
  jax.config.update(name, False)
  jax.clear_caches()
  get_options = compiler.get_compile_options

  def newer(*args, env_options_overrides=None, **kwargs):
    overrides = {programs.KERNELS: True} | (env_options_overrides or {})
    return get_options(*args, env_options_overrides=overrides, **kwargs)

  with pytest.MonkeyPatch.context() as patch:
    if programs.TWO_WAYS:
      patch.setattr(compiler, "get_compile_options", newer)
    yield
  jax.config.update(name, before)
