"""Estimates communication and scaling of the training step.

  python -m benchmarks.scaling [--size B] [--batch 96] [--dtype bfloat16]
    [--texts 77 16] [--devices 1 8 256] [--platforms gpu tpu cpu]
    [--set NAME=VALUE] [--output FILE.json]

The step, with `--batch` examples per device, is compiled for each number of
devices but not run. XLA's program shows the memory that a device needs, and the
bytes of its collectives. None of the devices need to exist:

- gpu: H200s, 8 on a node; needs `pip install "jax[cuda13]"` (or cuda12). The
  program for A100s and H100s would send the same.
- tpu: slices of v5e, two of them for 512; needs `pip install "jax[tpu]"`.
- cpu: simulated devices, if neither is installed. On them XLA sums gradients in
  float32, elsewhere in the towers' dtype.

The efficiency is predicted from that, not measured. Assumptions: MACHINES; a
device computes at MFU of its peak, alone and among others; rings, in which an
all-reduce moves 2 (n - 1) / n of its bytes and any other collective
(n - 1) / n; no latency. `worst` overlaps none of the communication with
computation, `best` as much as fits into the backward pass, which is two thirds
of the step.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import time
import types
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from benchmarks import flops, step
from benchmarks.collectives import collectives
from hyperclip_jax.training import build, runs, sharding, train
from hyperclip_jax.training import config as config_lib


class Machine(NamedTuple):
  """Manufacturer's figures of a machine.

  Attributes:
    platform: platform whose program is used; that of "cpu" stands for all.
    peak: bfloat16 FLOP/s.
    inside: bytes/s of a ring inside a node, in each direction.
    between: bytes/s of a ring over several nodes, whose devices send together.
    node: number of devices in a node.
  """

  platform: str
  peak: float
  inside: float
  between: float
  node: int


MACHINES = {
  "A100": Machine("gpu", 312e12, 300e9, 200e9, 8),
  "H100/H200": Machine("gpu", 989e12, 450e9, 400e9, 8),
  "TPU v5e": Machine("tpu", 197e12, 90e9, 90e9, 256),
}
PLUGINS = {
  "gpu": ("jax_cuda13_plugin", "jax_cuda12_plugin"),
  "tpu": ("libtpu",),
}
MFU = {"S": 0.30, "B": 0.42, "L": 0.50}  # required, not measured

# Description of a GPU, for XLA to compile without one.
H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 4800000000000
  device_memory_size: 150754820096
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 8 }
"""


def make_mesh(platform: str, devices: int) -> Mesh:
  """Makes a mesh of devices on the axis `data`; none of them need to exist.

  Args:
    platform: "gpu", "tpu" or "cpu".
    devices: number of devices.

  Returns:
    Mesh.
  """
  if platform == "cpu":
    found = jax.devices("cpu")[:devices]
  elif platform == "gpu":
    nodes = max(1, devices // 8)
    found = topologies.get_topology_desc(
      "",
      "cuda",
      target_config=H200,
      topology=f"1x{nodes}x{devices // nodes}",
    ).devices
  else:
    slices = max(1, devices // 256)
    power = (devices // slices).bit_length() - 1
    rows, columns = 2 ** (power // 2), 2 ** (power - power // 2)
    found = topologies.get_topology_desc(
      f"v5e:{rows}x{columns}",
      "tpu",
      chips_per_host_bounds=(min(rows, 2), min(columns, 2), 1),
      num_slices=slices,
    ).devices
  grid = np.array(found).reshape(-1, 1)
  return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto,) * 2)


@contextlib.contextmanager
def tracing_for(platform: str):
  """Makes JAX report a platform, since attention uses cuDNN on a GPU."""
  if platform != "gpu":
    yield
    return
  versions = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
  with (
    mock.patch.object(cudnn, "cuda_versions", versions),
    mock.patch.object(jax, "default_backend", return_value="gpu"),
  ):
    yield


def compiled(mesh: Mesh, flags: argparse.Namespace) -> Any:
  """Compiles the step.

  Args:
    mesh: mesh of devices.
    flags: flags of the benchmark, such as `batch`, the examples per device.

  Returns:
    Compiled program.
  """
  rows = flags.batch * mesh.size
  config, one = (
    step.make_config(
      flags.size, "hycoclip", batch, flags.dtype, flags.texts, flags.set
    )
    for batch in (rows, 1)
  )
  run = runs.Run(config, pathlib.Path(), [], mesh)
  batch = {
    view: {
      name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)
      for name, x in leaves.items()
    }
    for view, leaves in step.make_batch(one, flags.texts).items()
  }
  return train.make_step(run).lower(*abstract(run, batch)).compile()


def abstract(run: runs.Run, batch: Any) -> tuple[Any, Any]:
  """Describes the state and a batch of a run, sharded over its mesh.

  Args:
    run: run, whose devices need not exist.
    batch: shapes of a batch.

  Returns:
    Shapes with shardings, for `train.make_step(run).lower`.
  """
  state = jax.eval_shape(build.init(run.config, run.task))
  where = sharding.tree_shardings(
    run.mesh, state, run.task.rules.split, run.config.mesh.fsdp
  )

  def placed(x: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

  rows = sharding.batch_sharding(run.mesh)
  return (
    jax.tree.map(placed, state, where),
    jax.tree.map(lambda x: placed(x, rows), batch),
  )


def memory(program: Any) -> int:
  """Returns the peak memory of a device in bytes; the state is donated."""
  plan = program.memory_analysis()
  return (
    plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    - plan.alias_size_in_bytes
    + plan.temp_size_in_bytes
  )


def efficiency(
  machine: Machine, compute: float, devices: int, sent: dict[str, int]
) -> tuple[float, float]:
  """Predicts the efficiency, relative to `devices` times the speed of one.

  Args:
    machine: kind of machine.
    compute: seconds of a step without communication.
    devices: number of devices.
    sent: bytes of each kind of collective.

  Returns:
    Worst and best efficiency.
  """
  moved = sum(
    (2 if kind == "all-reduce" else 1) * size * (devices - 1) / devices
    for kind, size in sent.items()
  )
  bandwidth = machine.inside if devices <= machine.node else machine.between
  send = moved / bandwidth
  left = max(0.0, send - compute * 2 / 3)
  return compute / (compute + send), compute / (compute + left)


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  powers = [2**i for i in range(10)]
  installed = [
    name
    for name, plugins in PLUGINS.items()
    if any(map(importlib.util.find_spec, plugins))
  ]
  add("--size", default="B", choices=list(MFU))
  add("--batch", type=int, default=96, help="examples per device")
  add("--dtype", default="bfloat16")
  add("--texts", type=int, nargs=2, default=[77, 16], help="caption, box text")
  add("--devices", type=int, nargs="+", default=powers, choices=powers)
  add("--platforms", nargs="+", default=installed or ["cpu"])
  add("--set", nargs="*", default=[], help="config values, NAME=VALUE")
  add("--output", type=pathlib.Path)
  flags = parser.parse_args()
  os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no TPU to query
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", max(flags.devices))

  config = step.make_config(
    flags.size, "hycoclip", flags.batch, flags.dtype, flags.texts, flags.set
  )
  options = config_lib.options(config)
  operations = flops.train_step(options, flags.texts, flags.batch)
  results = []
  for platform in flags.platforms:
    machines = {
      name: machine
      for name, machine in MACHINES.items()
      if platform in (machine.platform, "cpu")
    }
    columns = ("devices", "compile s", "GiB each", "MB sent", *machines)
    print(platform, "".join(f"{name:>16}" for name in columns), sep="\n")
    for devices in flags.devices:
      start = time.perf_counter()
      with tracing_for(platform):
        program = compiled(make_mesh(platform, devices), flags)
      seconds = time.perf_counter() - start
      sent = collectives(program.as_text() or "", devices)
      found = {
        name: efficiency(
          m, operations / MFU[flags.size] / m.peak, devices, sent
        )
        for name, m in machines.items()
      }
      cells = (
        devices,
        f"{seconds:.0f}",
        f"{memory(program) / 2**30:.2f}",
        f"{sum(sent.values()) / 1e6:.1f}",
        *(f"{worst:.1%} - {best:.1%}" for worst, best in found.values()),
      )
      print("".join(f"{cell:>16}" for cell in cells), flush=True)
      results.append(
        {
          "platform": platform,
          "devices": devices,
          "bytes": sent,
          "memory": memory(program),
          "efficiency": found,
        }
      )
  if flags.output:
    flags.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  main()
