"""Estimates the cost of a run before it is started."""

import time

import jax
import optax
from clu import parameter_overview

from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.records import preview
from hyperclip_jax.training import flops, histograms, runs, sharding, train
from hyperclip_jax.training.progress import say


def dry_run(run: runs.Run) -> None:
  """Prints costs, reads one batch and takes one step, but saves nothing."""
  config = run.config
  initial, _ = train.first_state(run, None)
  say(parameter_overview.get_parameter_overview(initial.params))
  say(f"parameters  {optax.tree.size(initial.params):,}")
  say(
    f"state       {_gibibytes(initial):.2f} GiB with optimiser moments, "
    f"{_gibibytes(jax.tree.map(_shard, initial)):.2f} per device"
  )

  say(f"\n{preview.summary(preview.look(run.sources))}")
  batch = next(train.make_batches(run, 0, Faults(config.data.max_bad)))
  say(f"\nbatch of process {jax.process_index()}")
  for view, leaves in batch.items():
    for name, rows in leaves.items():
      say(f"  {view + '.' + name:14} {rows.dtype} {rows.shape}")

  batch = sharding.to_global(batch, run.mesh)
  step = train.make_step(run)
  begin = time.monotonic()
  compiled = step.lower(initial, batch).compile()
  say(f"\ncompiled in {time.monotonic() - begin:.1f} s")
  memory = compiled.memory_analysis()
  if memory is not None:
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    say(
      f"memory per device  {total / 2**30:.2f} GiB, of which "
      f"{memory.temp_size_in_bytes / 2**30:.2f} temporary"
    )
  operations = flops.count(step, initial, batch)
  say(f"matmul FLOPs per step  {operations / 1e12:.3g} T, all devices")

  begin = time.monotonic()
  _, metrics = jax.block_until_ready(compiled(initial, batch))
  say(f"one step in {time.monotonic() - begin:.2f} s")
  for name, value in metrics.items():
    if name != histograms.NAME:
      say(f"  {name:30} {float(value):.4f}")


def _shard(leaf: jax.Array) -> jax.Array:
  return leaf.addressable_shards[0].data


def _gibibytes(tree) -> float:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 2**30
