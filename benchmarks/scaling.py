"""What the training step sends between devices, and how well it would scale.

  python benchmarks/scaling.py [--size B] [--batch 96] [--compile 2 4 8]
    [--dtype float32] [--output FILE.json]

The step with `--batch` examples a device is compiled for each number of
simulated CPU devices, in a process each, and the bytes of its collectives are
counted in XLA's program, those inside a loop as often as the loop runs. The
bytes for other numbers of devices, up to 512, lie on the line through the two
largest that were compiled: parameters cost the same at any number, embeddings
in proportion to it.

The efficiency is predicted from that, not measured. Assumed: MACHINES; that a
device computes at MFU of its peak; rings, in which an all-reduce moves
2 (n - 1) / n of its bytes and any other collective (n - 1) / n; latency left
out. `worst` hides nothing of it, `best` all that fits beside the backward
pass, which is two thirds of the step.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter

# Peak bf16 FLOP/s; bytes/s of a ring inside a node and of one between nodes,
# where all cards of a node work together; devices a node. Makers' figures.
MACHINES = {
  "A100": (312e12, 300e9, 200e9, 8),
  "H100/H200": (989e12, 450e9, 400e9, 8),
  "TPU v5e": (197e12, 100e9, 100e9, 256),
}
MFU = {"S": 0.30, "B": 0.42, "L": 0.50}  # the gates, not measured
TEXTS = [77, 16]
PREDICTED = [2**i for i in range(10)]

SIZES = {"bf16": 2, "f32": 4, "s32": 4, "u32": 4, "pred": 1, "u8": 1}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
COLLECTIVE = re.compile(rf" = (\(?\w+\[.*?) ({KINDS})(?:-start)?\(")
LOOP = re.compile(r"body=%?([\w.-]+).*known_trip_count\D*(\d+)")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")


def collectives(program: str) -> Counter[str]:
  """Bytes of the results of each kind of collective in XLA's program."""
  times, computation, rows = {}, "", []
  for line in program.splitlines():
    if head := COMPUTATION.match(line):
      computation = head[1]
    elif loop := LOOP.search(line):
      times[loop[1]] = int(loop[2])
    elif found := COLLECTIVE.search(line):
      rows.append((computation, found[2], _bytes(found[1])))
  total: Counter[str] = Counter()
  for computation, kind, size in rows:
    total[kind] += size * times.get(computation, 1)
  return total


def _bytes(shapes: str) -> int:
  total = 0
  for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
    size = SIZES[dtype]
    for dim in filter(None, dims.split(",")):
      size *= int(dim)
    total += size
  return total


def compile_here(size: str, batch: int, dtype: str) -> Counter[str]:
  """What the program for all devices of this process sends."""
  import jax
  import step

  from hyperclip_jax import runs, sharding, train

  rows = batch * jax.device_count()
  config = step.make_config(size, "hycoclip", rows, dtype, TEXTS, [])
  run = runs.Run(config, pathlib.Path(), [], sharding.make_mesh())
  state = jax.eval_shape(lambda: train.first_state(run)[0])
  whole = jax.sharding.NamedSharding(run.mesh, jax.sharding.PartitionSpec())
  split = sharding.batch_sharding(run.mesh)

  def describe(tree, where):
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree
    )

  data = step.make_batch(config, TEXTS)
  lowered = train.make_step(run).lower(
    describe(state, whole), describe(data, split)
  )
  return collectives(lowered.compile().as_text())


def compile_for(devices: int, arguments: list[str]) -> Counter[str]:
  """`compile_here` in a process that has so many devices."""
  flags = f"--xla_force_host_platform_device_count={devices}"
  done = subprocess.run(
    [sys.executable, __file__, "--here", *arguments],
    env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  return Counter(json.loads(done.stdout))


def at(devices: int, counted: dict[int, Counter[str]]) -> dict[str, float]:
  """Bytes of each kind: as counted, or on the line through the last two."""
  if devices in counted or devices == 1:
    return dict(counted.get(devices, {}))
  low, high = sorted(counted)[-2:]
  share = (devices - low) / (high - low)
  return {
    kind: counted[low][kind] + share * (value - counted[low][kind])
    for kind, value in counted[high].items()
  }


def efficiency(
  machine: str, size: str, flops: float, devices: int, sent: dict[str, float]
) -> tuple[float, float]:
  """(worst, best) share of `devices` times the speed of one."""
  peak, inside, between, node = MACHINES[machine]
  compute = flops / (MFU[size] * peak)
  moved = sum(
    (2 if kind == "all-reduce" else 1) * value * (devices - 1) / devices
    for kind, value in sent.items()
  )
  send = moved / (inside if devices <= node else between)
  left = max(0.0, send - compute * 2 / 3)
  return compute / (compute + send), compute / (compute + left)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  add("--size", default="B", choices=list(MFU))
  add("--batch", type=int, default=96, help="examples a device")
  add("--dtype", default="float32")
  add("--compile", type=int, nargs="+", default=[2, 4, 8], help="devices")
  add("--here", action="store_true", help=argparse.SUPPRESS)
  add("--output", type=pathlib.Path)
  flags = parser.parse_args()
  if flags.here:
    print(json.dumps(compile_here(flags.size, flags.batch, flags.dtype)))
    return
  if len(set(flags.compile)) < 2 or min(flags.compile) < 2:
    parser.error("--compile wants two numbers of devices or more, from 2 on")

  from hyperclip_jax import build, config
  from hyperclip_jax.models import flops

  model = build.model(config.paper("hycoclip", flags.size))
  operations = flops.train_step(model, 224, TEXTS, flags.batch)
  same = ["--size", flags.size, "--batch", str(flags.batch)]
  counted = {}
  for devices in sorted(flags.compile):
    counted[devices] = compile_for(devices, [*same, "--dtype", flags.dtype])
    print(f"{devices} devices: {dict(counted[devices])}", flush=True)

  print(f"{'devices':>8}{'MB sent':>10}", *(f"{m:>16}" for m in MACHINES))
  rows = []
  for devices in PREDICTED:
    sent = at(devices, counted)
    found = {
      machine: efficiency(machine, flags.size, operations, devices, sent)
      for machine in MACHINES
    }
    rows.append({"devices": devices, "bytes": sent, "efficiency": found})
    cells = (f"{worst:.1%} - {best:.1%}" for worst, best in found.values())
    megabytes = sum(sent.values()) / 1e6
    print(f"{devices:>8}{megabytes:>10.1f}", *(f"{c:>16}" for c in cells))
  if flags.output:
    flags.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
  main()
