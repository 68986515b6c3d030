import importlib

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from benchmarks import collectives
from hyperclip_jax.training import sharding

ALL, ROWS = PartitionSpec(), PartitionSpec("data")


def count(program, devices):
  return collectives.collectives(program, devices)


def compile_for_all(function, in_spec, out_spec, shape):
  mesh = sharding.make_mesh()
  mapped = jax.shard_map(
    function, mesh=mesh, in_specs=in_spec, out_specs=out_spec, check_vma=False
  )
  where = jax.NamedSharding(mesh, in_spec)
  x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=where)
  return jax.jit(mapped).lower(x).compile().as_text()


def test_loops_count_as_often_as_they_run():
  def inner(x, _):
    return jax.lax.psum(jnp.sin(x), "data"), None

  def outer(x, _):
    x, _ = jax.lax.scan(inner, x, length=3)
    neighbours = [(i, (i + 1) % 8) for i in range(8)]
    return jax.lax.ppermute(x, "data", neighbours), None

  def function(x):
    return jax.lax.scan(outer, x, length=5)[0]

  program = compile_for_all(function, ALL, ALL, (6, 7))
  assert count(program, 8) == {
    "all-reduce": 5 * 3 * 6 * 7 * 4,
    "collective-permute": 5 * 6 * 7 * 4,
  }


def test_gathers_and_scatters_count_whole():
  def function(x):
    whole = jax.lax.all_gather(x, "data", tiled=True)
    return jax.lax.psum_scatter(jnp.sin(whole), "data", tiled=True)

  program = compile_for_all(function, ROWS, ROWS, (16, 5))
  whole = 16 * 5 * 4
  found = count(program, 8)
  assert found == {"all-gather": whole, "reduce-scatter": whole}


# As TPUs and GPUs write it: a gather spread over fusions in and outside a loop.
TPU = """\
%all-reduce-scatter.1 (p: f32[8,2]) -> f32[2,2] {
  %r = f32[8,2]{1,0:T(8,128)} all-reduce(%p), channel_id=1, to_apply=%add
}

%fusion.1 (p: f32[2]) -> f32[8] {
  %g1 = f32[8]{0} all-gather(%p), channel_id=3, attributes={chain_id="0"}
}

%fusion.2 (p: f32[2]) -> f32[8] {
  %g2 = f32[8]{0} all-gather(%p), channel_id=3, attributes={chain_id="0"}
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %f2 = f32[8]{0} fusion(%p), kind=kCustom, calls=%fusion.2
  %r = (f32[4]{0:T(256)S(1)}, f32[2,2]{1,0}) all-reduce-start(%a, %b)
  %g = ((f32[2]{0}, bf16[2,3]{1,0:T(8,128)}), (f32[8]{0}, bf16[8,3]{1,0})) \
all-gather-start(%c, %c2)
  %p = (f32[9]{0}, f32[9]{0}, u32[], u32[]) collective-permute-start(%d)
  %q = ((f32[2]{0}, s32[1]{0}), (f32[2]{0}, s32[1]{0})) \
collective-permute-start(%d, %e)
  %done = bf16[8,3]{1,0} all-gather-done(%g)
}

%condition (p: (s32[], f32[4])) -> pred[] {
  %bound = s32[]{:T(128)} constant(12)
  ROOT %lt = pred[]{:T(512)} compare(%step, %bound), direction=LT
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %f1 = f32[8]{0} fusion(%p), kind=kCustom, calls=%fusion.1
  %r = ((f32[8]{0}), (f32[2]{0})) reduce-scatter-start(%x)
  %s = f32[2,2]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
  %w = (s32[], f32[4]) while(%t), condition=%condition, body=%body
}
"""


def test_programs_of_accelerators():
  assert count(TPU, 4) == {
    "all-reduce": 12 * 2 * 4 * 4,
    "all-gather": 8 * 4 + 12 * (8 * 4 + 8 * 3 * 2),
    "collective-permute": 12 * (9 + 3) * 4,
    "reduce-scatter": 8 * 2 * 4 + 8 * 4,
  }
  with pytest.raises(ValueError, match="unknown number"):
    count(TPU.replace("constant(12)", "parameter(0)"), 4)


def test_efficiency():
  scaling = importlib.import_module("benchmarks.scaling")
  machine = scaling.Machine("cpu", 1e12, 100.0, 50.0, 8)
  assert scaling.efficiency(machine, 3.0, 1, {"all-reduce": 10**9}) == (1, 1)
  # In a node 2 * 100 * 7 / 8 + 8 * 7 / 8 bytes at 100 a second, all hidden.
  sent = {"all-reduce": 100, "all-gather": 8}
  worst, best = scaling.efficiency(machine, 3.0, 8, sent)
  assert (worst, best) == (pytest.approx(3 / (3 + 1.82)), 1)
  # Between nodes half as fast, of which 2 s are hidden.
  worst, best = scaling.efficiency(machine, 3.0, 16, {"all-reduce": 80})
  assert (worst, best) == (pytest.approx(3 / 6), pytest.approx(3 / (3 + 1)))
