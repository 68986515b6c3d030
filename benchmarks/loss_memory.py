"""Compares memory and time of the naive and the tiled contrastive loss.

  python -m benchmarks.loss_memory [--system hycoclip] [--dim 512]
    [--memory 1024 ...] [--time 1024 ...] [--rounds 5] [--output FILE.json]

Both compute the loss and all its gradients from float32 embeddings on one
device. Memory is XLA's own count of temporaries of the compiled program, which
is not run. Time is the median of wall-clock seconds over rounds in which naive
and tiled alternate, after one round that is not counted.
"""

import argparse
import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hyperclip_jax import systems
from hyperclip_jax.geometry.spaces import Lorentz, Space, Sphere
from hyperclip_jax.losses import contrastive, tiled
from hyperclip_jax.training import sharding

SYSTEMS = ("hycoclip", "meru", "clip")
CURV, LOGIT_SCALE = 1.0, 1 / 0.07  # initial values of a model


def gradients(system: str, contrast: contrastive.Contrast) -> Callable:
  """Jits a function (outputs, space, scale) that returns loss and gradients.

  Args:
    system: name of the system.
    contrast: contrastive loss to use.

  Returns:
    Jitted function.
  """

  def loss(outputs: Any, space: Space, scale: jax.Array) -> jax.Array:
    return systems.find(system).terms(space, scale, outputs, contrast)[0]

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))


def arguments(system: str, batch: int, dim: int) -> tuple[Any, Space, Any]:
  """Makes outputs whose pairs are nearer than chance, a space and a scale.

  Args:
    system: name of the system.
    batch: number of examples.
    dim: width of the embeddings.

  Returns:
    Arguments of the function from `gradients`.
  """
  keys = jax.random.split(jax.random.key(0), 5)
  shared, *own = (jax.random.normal(key, (batch, dim)) for key in keys)
  points = [(shared + noise) / (2 * dim) ** 0.5 for noise in own]
  space: Space = Lorentz(jnp.float32(CURV))
  if system == "clip":
    points = [p / jnp.linalg.norm(p, axis=1, keepdims=True) for p in points]
    space = Sphere()
  image, text, box_image, box_text = points
  outputs = {"whole": {"image": image, "text": text}}
  if system == "hycoclip":
    outputs["part"] = {"image": box_image, "text": box_text}
  return outputs, space, jnp.float32(LOGIT_SCALE)


def temporaries(function: Callable, system: str, batch: int, dim: int) -> int:
  """Compiles a function for shapes.

  Args:
    function: function from `gradients`.
    system: name of the system.
    batch: number of examples.
    dim: width of the embeddings.

  Returns:
    Bytes of temporaries.
  """
  make = functools.partial(arguments, system, batch, dim)
  compiled = function.lower(*jax.eval_shape(make)).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def seconds(
  functions: dict[str, Callable],
  system: str,
  batch: int,
  dim: int,
  rounds: int,
) -> dict[str, float]:
  """Times functions, alternating.

  Args:
    functions: functions from `gradients`, by name.
    system: name of the system.
    batch: number of examples.
    dim: width of the embeddings.
    rounds: number of rounds.

  Returns:
    Median seconds by name.
  """
  given = arguments(system, batch, dim)
  taken: dict[str, list[float]] = {name: [] for name in functions}
  for _ in range(1 + rounds):
    for name, function in functions.items():
      begin = time.perf_counter()
      jax.block_until_ready(function(*given))
      taken[name].append(time.perf_counter() - begin)
  return {name: statistics.median(times[1:]) for name, times in taken.items()}


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--system", choices=SYSTEMS, default="hycoclip")
  parser.add_argument("--dim", type=int, default=512)
  sizes = [1024, 2048, 4096, 8192, 16384, 32768]
  parser.add_argument("--memory", type=int, nargs="*", default=sizes)
  parser.add_argument("--time", type=int, nargs="*", default=[1024, 4096])
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--output", type=pathlib.Path)
  args = parser.parse_args()

  implementations = {
    "naive": contrastive.cross_entropy,
    "tiled": functools.partial(
      tiled.cross_entropy, sharding.make_mesh(devices=jax.devices()[:1])
    ),
  }
  functions = {
    name: gradients(args.system, contrast)
    for name, contrast in implementations.items()
  }
  found = []
  print(f"{args.system}, {args.dim} wide, {jax.devices()[0].device_kind}")
  print(f"{'batch':>7} {'':12} {'naive':>10} {'tiled':>10} {'ratio':>7}")
  for batch in args.memory:
    row = {
      name: temporaries(function, args.system, batch, args.dim)
      for name, function in functions.items()
    }
    found.append({"batch": batch, "temporary_bytes": row})
    _print(batch, "GB temporary", {k: v / 1e9 for k, v in row.items()})
  for batch in args.time:
    row = seconds(functions, args.system, batch, args.dim, args.rounds)
    found.append({"batch": batch, "seconds": row})
    _print(batch, "seconds", row)
  if args.output:
    args.output.write_text(json.dumps(found, indent=2) + "\n")


def _print(batch: int, what: str, row: dict[str, float]) -> None:
  naive, tile = row["naive"], row["tiled"]
  print(
    f"{batch:7,} {what:12} {naive:10.3f} {tile:10.3f} {tile / naive:7.3f}",
    flush=True,
  )


if __name__ == "__main__":
  main()
