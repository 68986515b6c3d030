"""The configs of ProLIP: the published recipe and sizes."""

import pathlib

import jax
import pytest

from hyperclip_jax.systems import prolip
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build, config_tree
from hyperclip_jax.training import config as config_lib

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
COUNTS = {"vitb": 197.9e6, "vitl": 642.8e6, "so400m": 866.3e6, "vith": 988.5e6}
pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_are_the_published_ones(name):
  config = config_tree.load(f"{CONFIGS}/prolip_{name}.py")
  config_lib.validate(config, devices=32)
  o = config_lib.options(config)
  shapes = variable_shapes(prolip.encoder(o))
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert count == pytest.approx(COUNTS[name], abs=0.06e6)
  assert config.data.text_buckets == (o.text.context,)


def test_the_recipe_is_the_published_one():
  config = config_tree.load(f"{CONFIGS}/prolip_vitb.py")
  assert (config.steps, config.batch_size) == (788_480, 16_384)
  short = config_tree.load(f"{CONFIGS}/prolip_vitb.py:1.28e9")
  assert short.steps == 78_848
  optim = config.optim
  assert (optim.learning_rate, optim.warmup, optim.weight_decay) == (
    5e-4,
    10_000,
    0.2,
  )
  rate = build.schedule(config)
  for step, wanted in ((0, 5e-8), (4_999, 2.5e-4), (9_999, 5e-4)):
    assert float(rate(step)) == pytest.approx(wanted, rel=1e-5)
  assert (optim.b1, optim.b2, optim.eps) == (0.9, 0.95, 1e-6)
