"""Where a report comes from: the model, its data, machine and software."""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence

import jax

from hyperclip_jax.evals.held_out import TRAIN_SAMPLE, Sample
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.training import log
from hyperclip_jax.training.config import Config

PACKAGES = ("hyperclip-jax", "jax", "flax")


def of_run(
  history: Sequence[log.Row], config: Config, model: HyperCLIP, data: Sample
) -> dict[str, str]:
  """What a reader of a run's report needs to trace it back, by name."""
  vision, text = config.model.vision, config.model.text
  folder = config.shapes.folder
  held_out = config.data.held_out or f"{folder}/val"
  seconds = sum(row.get("seconds", 0.0) for row in history)
  time = {"time": log.duration(seconds)} if seconds else {}
  return {
    "model": f"{parameters(model)}; vision {vision.depth} x {vision.width}, "
    f"patch {vision.patch}, {config.model.image_size} px; text {text.depth} x "
    f"{text.width}",
    "data": f"{folder}/train" if folder else config.data.shards,
    "held out": "none" if data.name == TRAIN_SAMPLE else held_out,
    "steps": f"{config.steps:,}",
    "batch": f"{config.batch_size:,}",
    **time,
    "device": devices(),
    "software": software(),
    "command": shlex.join(sys.argv),
  }


def parameters(model: HyperCLIP) -> str:
  """How many numbers the model has learned: "149.6 M parameters"."""
  count = sum(leaf.size for leaf in jax.tree.leaves(model.params))
  return f"{count / 1e6:,.1f} M parameters"


def devices() -> str:
  """The devices of all processes: "8 x NVIDIA H100"."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def software() -> str:
  """The versions that the numbers depend on."""
  found = [f"Python {platform.python_version()}"]
  for name in PACKAGES:
    try:
      found.append(f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
      found.append(f"{name} of a checkout")
  return ", ".join(found)
