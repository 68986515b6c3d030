"""Counts the operations and memory of each system's training step.

  python -m benchmarks.costs [--size B] [--systems hycoclip meru ...]
    [--batch 96] [--dtype bfloat16] [--platform cpu] [--output FILE.json]

Steps are lowered and compiled for one device, which need not exist
(`--platform gpu` and `tpu`, see benchmarks/scaling.py), but not run. Texts fill
the context. UNCHA and Hyper3-CLIP take five boxes an image, as published.

- matmul FLOPs: two for each multiply-add, loops counted as often as they run.
- XLA FLOPs: XLA's count of all operations before it optimises; blocks are
  unrolled for it, since it counts the body of a loop once.
- memory: XLA's plan, of the state and batch, and of temporaries.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
from absl import flags as absl_flags
from jax.sharding import Mesh

from benchmarks import scaling
from hyperclip_jax import systems
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import flops, sources, train
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.runs import Run

FIVE_BOXES = ("hyper3", "uncha")


def batch_shapes(config: Config, mesh: Mesh) -> Any:
  """Reads a batch of one example a device, and widens it to `batch_size`.

  Args:
    config: config whose records can be read.
    mesh: devices; none of them need to exist.

  Returns:
    Shapes of a batch whose texts fill the context.
  """
  few = config.copy_and_resolve_references()
  few.batch_size = 1
  few.data.text_buckets = few.data.text_buckets[-1:]
  run = Run(few, pathlib.Path(), sources.training(few), mesh)
  batch = next(train.make_batches(run, 0, Faults(1.0)))

  def widened(leaf: Any) -> jax.ShapeDtypeStruct:
    rows = len(leaf) * config.batch_size
    return jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype)

  return jax.tree.map(widened, batch)


def images_of(run: Run) -> int:
  """Counts the pictures that a step embeds of each record."""
  views = run.task.views.values()
  return sum(view.count for view in views if view.crop is not None)


def operations(config: Config, mesh: Mesh, batch: Any) -> dict[str, float]:
  """Counts the operations of a step; nothing is compiled.

  Args:
    config: config of a run.
    mesh: one device.
    batch: shapes of a batch.

  Returns:
    matmul_flops and xla_flops.
  """
  config = config.copy_and_resolve_references()
  if "unroll" in config.model:
    config.model.unroll = True
  run = Run(config, pathlib.Path(), [], mesh)
  state, split = scaling.abstract(run, batch)
  step = train.make_step(run)
  counted = step.lower(state, split).cost_analysis() or {}
  return {
    "matmul_flops": float(flops.count(step, state, split)),
    "xla_flops": float(counted.get("flops", 0.0)),
  }


def cost(config: Config, mesh: Mesh) -> dict[str, float]:
  """Counts the operations of a step, and compiles it for its memory.

  Args:
    config: config whose records can be read.
    mesh: one device.

  Returns:
    Numbers of `operations`; argument_bytes and temporary_bytes;
    images_per_record.
  """
  batch = batch_shapes(config, mesh)
  run = Run(config, pathlib.Path(), [], mesh)
  plan = train.make_step(run).lower(*scaling.abstract(run, batch)).compile()
  memory = plan.memory_analysis()
  return operations(config, mesh, batch) | {
    "argument_bytes": float(memory.argument_size_in_bytes),
    "temporary_bytes": float(memory.temp_size_in_bytes),
    "images_per_record": float(images_of(run)),
  }


def paper(system: str, size: str, folder: str) -> Config:
  """Makes a system's recipe on the embedded data set.

  Args:
    system: name of the system.
    size: "S", "B" or "L".
    folder: folder of the data set.

  Returns:
    Config.
  """
  config = config_lib.paper(system, size)
  if system in FIVE_BOXES:
    config.data.parts_per_image = 5
  config_lib.add_shapes(config, config_lib.Shapes(folder=folder))
  config.data.min_side = 4
  return config


def table(found: Mapping[str, Mapping[str, float]]) -> str:
  """Formats a Markdown table; FLOPs also relative to the first system."""
  lines = [
    "| system | images a record | matmul TFLOP | XLA TFLOP | relative | "
    "state and batch, GiB | temporaries, GiB |",
    f"|{' --- |' * 7}",
  ]
  first = next(iter(found.values()), {})
  for name, row in found.items():
    cells = (
      name,
      f"{row['images_per_record']:g}",
      f"{row['matmul_flops'] / 1e12:.3g}",
      f"{row['xla_flops'] / 1e12:.3g}",
      f"{row['xla_flops'] / first['xla_flops']:.2f}",
      f"{row['argument_bytes'] / 2**30:.2f}",
      f"{row['temporary_bytes'] / 2**30:.2f}",
    )
    lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def names() -> list[str]:
  """Lists systems of images and texts that start at random, HyCoCLIP first."""
  modules = {name: systems.find(name) for name in systems.names()}
  found = [
    name
    for name, module in modules.items()
    if hasattr(module.Options(), "text") and not hasattr(module, "STARTS_FROM")
  ]
  return sorted(found, key=lambda name: name != "hycoclip")


def main(argv: list[str] | None = None) -> None:
  """Compiles the steps and prints the table."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  add = parser.add_argument
  add("--size", default="B", choices=["S", "B", "L"])
  add("--systems", nargs="+", default=names(), choices=names())
  add("--batch", type=int, default=96, help="records on the device")
  add("--dtype", default="bfloat16")
  add("--platform", default="cpu", choices=["cpu", "gpu", "tpu"])
  add("--output", type=pathlib.Path)
  options = parser.parse_args(argv)
  absl_flags.FLAGS.mark_as_parsed()  # grain reads absl flags
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "shapes"
    shapes.generate(path, train=64, val=1, objects=1, image_size=64)
    for system in options.systems:
      config = paper(system, options.size, str(path))
      config.batch_size, config.model.dtype = options.batch, options.dtype
      with scaling.tracing_for(options.platform):
        mesh = scaling.make_mesh(options.platform, 1)
        found[system] = cost(config, mesh)
      print(table({system: found[system]}).splitlines()[-1], flush=True)
  print(f"\n{table(found)}")
  if options.output:
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()
