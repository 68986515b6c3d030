"""Describes what made a report: model, data, devices and software."""

import importlib.metadata
import pathlib
import platform
import subprocess
import sys
from collections.abc import Sequence

import jax

from hyperclip_jax import files
from hyperclip_jax.evals.held_out import TRAIN_SAMPLE, Sample
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.training import log, runs
from hyperclip_jax.training.config import Config

PACKAGES = ("hyperclip-jax", "jax", "flax")


def of_run(
  workdir: pathlib.Path,
  history: Sequence[log.Row],
  config: Config,
  model: HyperCLIP,
  data: Sample,
) -> dict[str, str]:
  """Describes a run for its report.

  Args:
    workdir: folder of the run.
    history: rows of the run's metrics.
    config: configuration of the run.
    model: trained model.
    data: records that were evaluated.

  Returns:
    Facts by name: model, data, steps, batch, seed, time, device, software,
    command.
  """
  seconds = sum(row.get("seconds", 0.0) for row in history)
  time = {"time": took(seconds)} if seconds else {}
  path = workdir / runs.COMMAND
  command = files.read_text(path) if path.is_file() else runs.command(sys.argv)
  return {
    "model": f"{parameters(model)}; {towers(model)}",
    "data": config.data.shards,
    "held out": "none" if data.name == TRAIN_SAMPLE else config.data.held_out,
    "steps": f"{config.steps:,}",
    "batch": f"{config.batch_size:,}",
    "seed": f"{config.seed}",
    **time,
    "device": devices(),
    "software": software(),
    "command": command.strip(),
  }


def took(seconds: float) -> str:
  """Formats the time of a run.

  Examples:
    >>> took(50), took(2_040), took(90_000)
    ('50 s', '34 min', '25 h 0 min')
  """
  if seconds < 60:
    return f"{seconds:.0f} s"
  hours, minutes = divmod(round(seconds / 60), 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def towers(model: HyperCLIP) -> str:
  """Formats the sizes of the towers, as far as the options name them."""
  o = model.options
  words = []
  if hasattr(o, "vision"):
    words.append(f"vision {o.vision}")
  words.append(f"images of {model.image_size} px")
  if hasattr(o, "text"):
    words.append(f"text {o.text}")
  return ", ".join(words)


def parameters(model: HyperCLIP) -> str:
  """Formats the number of parameters, such as "149.6 M parameters"."""
  return f"{model.size / 1e6:,.1f} M parameters"


def devices() -> str:
  """Formats the devices of all processes, such as "8 x NVIDIA H100"."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def _commit() -> str:
  """Names the commit of a checkout of this package; "" if git cannot tell."""
  root = pathlib.Path(__file__).parents[2]
  if not (root / ".git").exists():
    return ""
  command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return ""
  return f" at {done.stdout.strip()}"


def software() -> str:
  """Formats the versions of Python and of the packages that matter."""
  found = [f"Python {platform.python_version()}"]
  for name in PACKAGES:
    try:
      found.append(f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
      found.append(f"{name} from a checkout{_commit()}")
  return ", ".join(found)
