"""Measures time, memory and MFU of the training step, also against PyTorch.

  python -m benchmarks.step --size S B L [--batch 768] [--dtype bfloat16]
    [--texts 77 77] [--system hycoclip] [--devices N] [--set NAME=VALUE]
    [--variants NAME:KEY=VALUE,...] [--torch] [--compile]
    [--official CHECKOUT] [--output FILE.json]

- hyperclip: `train.make_step` on a batch that is already on the device,
  including crops of the uint8 canvases. Each of `--variants`, such as
  `scan:model.remat=dots unroll:model.unroll=True`, is one more.
- torch: the same towers and loss in plain PyTorch, on the cropped pixels and
  with the same weights, eager; `--compile` adds torch.compile.
- official: HyCoCLIP's own code, likewise.

All alternate in every round, after two steps each that are not counted. MFU is
relative to the matmul rate measured in the same rounds, with the FLOPs of
benchmarks/flops.py. XLA's own count is shown too; it counts the body of a loop
over layers once.
"""

import argparse
import ast
import collections
import json
import pathlib
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import flops
from hyperclip_jax.data.feed import pipeline, views
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import runs, sharding, train
from hyperclip_jax.training.config import Config

WITH_PARTS = ("hycoclip",)

Work = Callable[[int], float]  # number of steps -> loss of the last

COLUMNS = {
  "way": "",
  "first_loss": ".5f",
  "seconds": ".4f",
  "cpu_seconds": ".3f",
  "samples_per_second": ".1f",
  "mfu": ".1%",
  "of_hyperclip": ".2f",
}


def make_config(
  size: str,
  system: str,
  batch: int,
  dtype: str,
  texts: list[int],
  values: list[str],
) -> Config:
  """Makes the paper's recipe with the changes of the flags.

  Args:
    size: "S", "B" or "L".
    system: name of the system.
    batch: number of examples.
    dtype: dtype of the towers.
    texts: lengths of the texts.
    values: config values, NAME=VALUE.

  Returns:
    Config.
  """
  config = config_lib.paper(system, size)
  config.batch_size = batch
  config.model.dtype = dtype
  config.model.text.context = max(77, *texts)
  for value in filter(None, values):
    name, _, text = value.partition("=")
    try:
      parsed = ast.literal_eval(text)
    except (SyntaxError, ValueError):
      parsed = text
    config.update_from_flattened_dict({name: parsed})
  return config


def make_batch(config: Config, texts: list[int]) -> pipeline.Batch:
  """Makes random canvases, crops and tokens, with the end token last.

  Args:
    config: config of the run.
    texts: lengths of the texts of each view.

  Returns:
    Batch on the host.
  """
  rng = np.random.default_rng(0)
  rows, side = config.batch_size, config.data.canvas
  end = config.model.text.vocab - 1

  def view(length: int) -> dict[str, np.ndarray]:
    box = np.array([0, 0, side, side], np.float32)
    ids = rng.integers(1, end, (rows, length), np.int32)
    ids[:, -1] = end
    return {
      "image": rng.integers(0, 256, (rows, side, side, 3), np.uint8),
      "crop": np.tile(box, (rows, 1)),
      "seed": rng.integers(2**32, size=rows, dtype=np.uint32),
      "text": ids,
    }

  # systems that train on parts get one for each example
  names = ("whole", "part")[: 1 + (config.system in WITH_PARTS)]
  return dict(zip(names, map(view, texts), strict=False))


class HyperCLIP:
  """The compiled training step, with its state."""

  def __init__(self, config: Config, texts: list[int], devices: int):
    mesh = sharding.make_mesh(config.mesh.model, jax.devices()[:devices])
    run = runs.Run(config, pathlib.Path(), [], mesh)
    self.state, _ = train.first_state(run)
    self.batch = sharding.to_global(make_batch(config, texts), mesh)
    self.task = run.task
    self.variables = jax.device_get(self.state.variables)
    start = time.perf_counter()
    lowered = train.make_step(run).lower(self.state, self.batch)
    self.lower_seconds = time.perf_counter() - start
    self.step = lowered.compile()
    self.compile_seconds = time.perf_counter() - start

  def work(self, steps: int) -> float:
    """Takes steps, and returns the loss of the last."""
    for _ in range(steps):
      self.state, metrics = self.step(self.state, self.batch)
    return float(metrics["loss"])

  def memory(self) -> dict[str, int]:
    """Returns bytes on a device, as planned by XLA and, if known, as used."""
    plan = self.step.memory_analysis()
    seen = jax.devices()[0].memory_stats() or {}
    peak = {"peak_bytes": seen.get("peak_bytes_in_use")}
    return {
      "argument_bytes": plan.argument_size_in_bytes,
      "temporary_bytes": plan.temp_size_in_bytes,
    } | {name: value for name, value in peak.items() if value}

  def xla_flops(self) -> float:
    """Returns XLA's count of operations."""
    return float((self.step.cost_analysis() or {}).get("flops", 0.0))

  def calls(self) -> dict[str, int]:
    """Counts the program's calls of each library: cuDNN, cuBLAS, Triton."""
    return library_calls(self.step.as_text() or "")

  def about(self) -> dict[str, Any]:
    """Describes the compiled program."""
    return {
      "lower_seconds": self.lower_seconds,
      "compile_seconds": self.compile_seconds,
      "xla_flops": self.xla_flops(),
      "memory": self.memory(),
      "calls": self.calls(),
    }


def library_calls(program: str) -> dict[str, int]:
  """Counts custom calls of an XLA program by target, and its Triton fusions.

  The body of a loop counts once.
  """
  targets = re.findall(r'custom_call_target="([^"]+)"', program)
  kinds = re.findall(r'"kind":"(__triton[a-z_]*)"', program)
  return dict(collections.Counter(targets + kinds).most_common())


def torch_ways(
  config: Config, size: str, ours: HyperCLIP, compiled: bool, checkout: str
) -> dict[str, Work]:
  """Makes PyTorch's steps on the pixels and weights of `ours`.

  Args:
    config: config of the run.
    size: "S", "B" or "L".
    ours: step to compare with.
    compiled: whether to add torch.compile.
    checkout: checkout of HyCoCLIP's own code, or "".

  Returns:
    Steps by name.
  """
  import torch

  from benchmarks import torch_step
  from hyperclip_jax.checkpoints import torch_checkpoint
  from hyperclip_jax.checkpoints.release import Release

  options = config_lib.options(config)
  side, name = options.image_size, config.system
  release = Release(name, options, ours.variables)
  weights = torch_checkpoint.tensors(release)
  cuda = jax.default_backend() == "gpu"
  device = torch.device("cuda" if cuda else "cpu")
  seen: Any = views.augment(ours.task.views, ours.batch, side)

  def tensor(array: jax.Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).to(device)

  def pixels(array: jax.Array) -> torch.Tensor:
    return tensor(array).permute(0, 3, 1, 2).contiguous()

  batch = {
    f"{prefix}{kind}s": move(seen[view][kind])
    for view, prefix in (("whole", ""), ("part", "box_"))
    for kind, move in (("image", pixels), ("text", lambda x: tensor(x).long()))
    if view in seen
  }
  models = {"torch": lambda: torch_step.Model(options, name, weights)}
  if checkout:
    path = pathlib.Path(checkout)
    models["official"] = lambda: torch_step.official(
      path, options, size, name, weights
    )

  def way(make: Callable[[], Any], compile_it: bool) -> Work:
    bfloat16 = config.model.dtype == "bfloat16"
    step = torch_step.step(make(), batch, bfloat16, compile_it)

    def work(steps: int) -> float:
      for _ in range(steps):
        loss = step()
      return loss.item()

    return work

  return {
    f"{name}{' compiled' * compile_it}": way(make, compile_it)
    for name, make in models.items()
    for compile_it in (False, True)[: 1 + compiled]
  }


def matmul(dtype: str, side: int) -> Work:
  """Makes a step of one square matrix product on one device.

  Args:
    dtype: dtype of the matrices.
    side: their side; a step has `side`**3 multiply-adds.

  Returns:
    Steps to time.
  """
  x = jax.random.normal(jax.random.key(0), (side, side), dtype)
  product = jax.jit(lambda a, b: a @ b)

  def work(steps: int) -> float:
    y = x
    for _ in range(steps):
      y = product(x, y)
    return float(y[0, 0])

  return work


def measure(
  ways: dict[str, Work], rounds: int, steps: int
) -> dict[str, dict[str, float]]:
  """Times steps, alternating.

  The first two steps of each are not counted, but the loss of the first is
  kept, since it is that of the same weights and batch.

  Args:
    ways: steps by name.
    rounds: number of rounds.
    steps: number of steps in a round.

  Returns:
    Median and least wall seconds, and processor seconds, of a step by name.
  """
  walls: dict[str, list[float]] = {name: [] for name in ways}
  cpus: dict[str, list[float]] = {name: [] for name in ways}
  first_losses = {name: work(1) for name, work in ways.items()}
  for work in ways.values():
    work(1)
  for _ in range(rounds):
    for name, work in ways.items():
      wall, cpu = time.perf_counter(), time.process_time()
      work(steps)
      walls[name].append((time.perf_counter() - wall) / steps)
      cpus[name].append((time.process_time() - cpu) / steps)
  return {
    name: {
      "first_loss": first_losses[name],
      "seconds": statistics.median(walls[name]),
      "least_seconds": min(walls[name]),
      "cpu_seconds": statistics.median(cpus[name]),
    }
    for name in ways
  }


def variant(text: str) -> tuple[str, list[str]]:
  """Splits NAME:KEY=VALUE,KEY=VALUE into the name and its settings."""
  name, _, values = text.partition(":")
  return name, values.split(",")


def benchmark(size: str, flags: argparse.Namespace) -> dict[str, Any]:
  """Measures one size of the image tower, all ways alternating.

  Args:
    size: "S", "B" or "L".
    flags: flags of the benchmark.

  Returns:
    Results.
  """
  devices = flags.devices or jax.device_count()
  variants = dict(map(variant, flags.variants)) or {"hyperclip": []}
  ours: dict[str, HyperCLIP] = {}
  for name, values in variants.items():
    config = make_config(
      size,
      flags.system,
      flags.batch,
      flags.dtype,
      flags.texts,
      flags.set + values,
    )
    ours[name] = HyperCLIP(config, flags.texts, devices)
  ways: dict[str, Work] = {name: each.work for name, each in ours.items()}
  if flags.torch or flags.official:
    first = next(iter(ours.values()))
    ways |= torch_ways(config, size, first, flags.compile, flags.official)
  ways["matmul"] = matmul(flags.dtype, flags.matmul)
  found = measure(ways, flags.rounds, flags.steps)

  peak = 2 * flags.matmul**3 / found.pop("matmul")["seconds"]
  texts = flags.texts if flags.system in WITH_PARTS else flags.texts[:1]
  options = config_lib.options(config)
  operations = flops.train_step(options, texts, flags.batch)
  least = min(found[name]["seconds"] for name in ours)
  for name, row in found.items():
    used = devices if name in ours else 1
    row["samples_per_second"] = flags.batch / row["seconds"]
    row["mfu"] = operations / row["seconds"] / peak / used
    row["of_hyperclip"] = least / row["seconds"]
  return {
    "size": size,
    "device": jax.devices()[0].device_kind,
    "devices": devices,
    "jax": jax.__version__,
    "system": flags.system,
    "batch": flags.batch,
    "dtype": flags.dtype,
    "texts": texts,
    "set": flags.set,
    "variants": flags.variants,
    "rounds": flags.rounds,
    "steps": flags.steps,
    "matmul_flops_per_second": peak,
    "flops": operations,
    "programs": {name: each.about() for name, each in ours.items()},
    "ways": found,
  }


def table(results: list[dict[str, Any]]) -> str:
  """Formats a line for each way, below what is common to a size."""
  lines = []
  for result in results:
    lines.append(
      f"{result['size']}/16, {result['system']}, batch {result['batch']}, "
      f"{result['dtype']}, texts {result['texts']}, {result['devices']} x "
      f"{result['device']}, jax {result['jax']}"
    )
    for name, program in result["programs"].items():
      memory = {k: f"{v / 2**30:.2f} GiB" for k, v in program["memory"].items()}
      lines += [
        f"  {name}: lowered and compiled in {program['compile_seconds']:.1f} s,"
        f" {memory}, XLA counts {program['xla_flops'] / 1e12:.3g} TFLOP",
        f"  {name}: calls {program['calls']}",
      ]
    lines += [
      f"  {result['flops'] / 1e12:.3g} TFLOP a step, matmul "
      f"{result['matmul_flops_per_second'] / 1e12:.3g} TFLOP/s",
      "  " + "".join(f"{name:>20}" for name in COLUMNS),
    ]
    for way, row in result["ways"].items():
      cells = row | {"way": way}
      texts = (format(cells[name], spec) for name, spec in COLUMNS.items())
      lines.append("  " + "".join(f"{text:>20}" for text in texts))
  return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  gpu = jax.default_backend() == "gpu"
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add = parser.add_argument
  add("--size", nargs="+", default=["S"], choices=["S", "B", "L"])
  add("--system", default="hycoclip")
  add("--batch", type=int, default=768 if gpu else 8)
  add("--dtype", default="bfloat16" if gpu else "float32")
  add("--texts", type=int, nargs=2, default=[77, 77], help="caption, box text")
  add("--devices", type=int, default=0, help="all by default")
  add("--set", nargs="*", default=[], help="config values, NAME=VALUE")
  add("--variants", nargs="*", default=[], help="NAME:KEY=VALUE,... in turn")
  add("--rounds", type=int, default=5)
  add("--steps", type=int, default=10 if gpu else 1, help="a round")
  add("--matmul", type=int, default=8192 if gpu else 2048, help="its side")
  add("--torch", action="store_true", help="plain PyTorch in turn")
  add("--compile", action="store_true", help="torch.compile, too")
  add("--official", default="", help="a checkout of HyCoCLIP's own code")
  add("--output", type=pathlib.Path)
  flags = parser.parse_args(argv)
  results = []
  for size in flags.size:
    results.append(benchmark(size, flags))
    print(table(results[-1:]), flush=True)
    if flags.output:
      flags.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  main()
