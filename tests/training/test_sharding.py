"""States are split as the rules say, stay so, and train alike."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.training import build, runs, sharding, train
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.step import TrainState
from tests import small
from tests.training.test_gradient_cache import collectives


@pytest.mark.parametrize(
  ("shape", "spec", "wanted"),
  [
    ((12, 768, 2304), (), (None, None, "data")),
    ((12, 768, 2304), (None, None, "model"), (None, "data", "model")),
    ((12, 3072, 768), (None, "model", None), (None, "model", "data")),
    ((49408, 512), (), (None, "data")),
    ((800, 1001), (), ("data", None)),  # 1001 is no multiple of 8
    ((801, 1001), (), ()),
    ((8, 1024), (), ()),  # too small
    ((), (), ()),
  ],
)
def test_fsdp_splits_the_last_free_dimension(shape, spec, wanted):
  found = sharding.over_data(shape, PartitionSpec(*spec), devices=8)
  assert found == PartitionSpec(*wanted)


def bytes_on_a_device(tree, shardings):
  sizes = jax.tree.map(
    lambda leaf, sharding: (
      math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    ),
    tree,
    shardings,
  )
  return sum(jax.tree.leaves(sizes))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(("model", "least"), [(1, 1 / 8), (2, 0.14)])
def test_a_state_takes_about_an_eighth_on_eight_devices(model, least):
  """With `model` = 2 what only `data` splits takes a quarter."""
  mesh = sharding.make_mesh(model)
  config = config_lib.paper()
  task = build.task(config, mesh)
  state = jax.eval_shape(build.init(config, task))
  whole = sum(
    leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)
  )
  shardings = sharding.tree_shardings(mesh, state, task.rules.split, fsdp=True)
  found = bytes_on_a_device(state, shardings) / whole
  assert least <= found < least + 0.01


@pytest.fixture(scope="module")
def both(tmp_path_factory):
  """Three steps of a run as it is, and by FSDP in micro-batches."""
  folder = tmp_path_factory.mktemp("runs")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, "LARGE", 256)
    with jax.numpy_dtype_promotion("standard"):
      yield take_steps(folder, False, 1), take_steps(folder, True, 2)


class Steps(NamedTuple):
  run: runs.Run
  metrics: list[dict[str, float]]
  state: TrainState
  compiled: Any


def take_steps(folder, fsdp, micro_batches):
  config = small.config("meru")
  config.model.text.vocab = 49_408  # most of the state, which is split
  config.data.distortions.flip = 0.5
  config.mesh.fsdp = fsdp
  config.micro_batches = micro_batches
  run = runs.prepare(config, folder)
  state, _ = train.first_state(run)
  batches = train.make_batches(run, 0, Faults(0.0))
  batch = sharding.to_global(next(batches), run.mesh)
  compiled = train.make_step(run).lower(state, batch).compile()
  rows = []
  for _ in range(3):
    state, metrics = compiled(state, batch)
    rows.append(jax.device_get(metrics))
  return Steps(run, rows, state, compiled)


@pytest.mark.slow
def test_fsdp_in_micro_batches_trains_alike(both):
  plain, fsdp = both
  losses = [[row["loss"] for row in steps.metrics] for steps in both]
  assert losses[0][2] < losses[0][0]
  np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
  for name, value in plain.metrics[0].items():
    np.testing.assert_allclose(
      fsdp.metrics[0][name], value, rtol=1e-5, atol=1e-7, err_msg=name
    )


def test_an_update_by_fsdp_stays_split(both):
  plain, fsdp = both
  whole = sum(leaf.nbytes for leaf in jax.tree.leaves(plain.state))
  own = sum(
    leaf.addressable_shards[0].data.nbytes
    for leaf in jax.tree.leaves(fsdp.state)
  )
  assert 1 / 8 <= own / whole < 1.02 / 8
  memory, before = (steps.compiled.memory_analysis() for steps in (fsdp, plain))
  saved = before.argument_size_in_bytes - memory.argument_size_in_bytes
  assert saved == whole - own
  # The state goes out as it came in, with a few scalars beside it.
  assert memory.output_size_in_bytes < own + 4096
  assert memory.alias_size_in_bytes >= own
  assert memory.temp_size_in_bytes < before.temp_size_in_bytes


def test_fsdp_gathers_parameters_not_activations(both):
  """Activations have three axes; a look-up of tokens alone moves some."""
  plain, fsdp = (set(collectives(run.compiled.as_text())) for run in both)
  assert ("f32[32,128]", "all-gather") in fsdp  # a layer's fc1/kernel
  moved = {(shape, kind) for shape, kind in fsdp - plain if shape[0] == "f"}
  large = {(shape, kind) for shape, kind in moved if shape.count(",") >= 2}
  assert {kind for _, kind in large} <= {"all-to-all"}


def test_checkpoints_go_between_fsdp_and_whole_states(both, tmp_path):
  plain, fsdp = both
  for source, target in ((fsdp, plain), (plain, fsdp)):
    folder = tmp_path / str(source.run.config.mesh.fsdp)
    with checkpoint.Checkpoints(folder) as checkpoints:
      checkpoints.save(source.state, {"examples_seen": 48, "config": {}})
    with checkpoint.Checkpoints(folder) as checkpoints:
      found, meta = train.first_state(target.run, checkpoints)
    assert meta["examples_seen"] == 48
    jax.tree.map(np.testing.assert_array_equal, found, source.state)
    for a, b in zip(*map(jax.tree.leaves, (found, target.state)), strict=True):
      assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
