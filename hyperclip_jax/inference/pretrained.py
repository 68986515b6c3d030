"""Loads trained models from runs, releases, the hub and .pth files."""

import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from hyperclip_jax import files, systems
from hyperclip_jax.checkpoints import (
  checkpoint,
  hub,
  official,
  release,
  torch_checkpoint,
)
from hyperclip_jax.checkpoints.release import (
  MODEL_FILE,
  OLD_FILE,
  WEIGHTS_FILE,
)
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems.task import variable_shapes


def load(
  source: str | pathlib.Path,
  vision_heads: int | None = None,
  text_heads: int | None = None,
  trust_system: bool = False,
) -> HyperCLIP:
  """Loads a trained model.

  Args:
    source: workdir of a training run (its newest checkpoint), folder written by
      `save_pretrained`, or published for ProLIP, official `.pth`, or one of
      these on the hub: `hf-hub:org/name` or `hf-hub:org/name/FILE.pth`, with
      `@revision` after the name to pin a branch, tag or commit. A `.pth` of
      MERU or HyCoCLIP is taken for MERU's if its file name contains "meru",
      otherwise for HyCoCLIP's, which is used in the same way.
    vision_heads: attention heads of the image tower of a `.pth`, if its width
      is not one of the published models'.
    text_heads: attention heads of the text tower, likewise.
    trust_system: whether the model may be of a system of another package, which
      is then imported and may run any code.

  Returns:
    Model with the pixel normalisation that it was trained with.

  Raises:
    FileNotFoundError: there is no model, or a run without a checkpoint yet.
    ImportError: an extra is missing; the message says which.
    OSError: the hub cannot be reached, or has no such model.
    ValueError: it is not such a model, which lists keys missing and unexpected,
      or its weights are not finite.
  """
  if str(source).startswith(hub.PREFIX):
    others = (MODEL_FILE, OLD_FILE, *release.OTHER_FILES)
    path = hub.download(str(source), [WEIGHTS_FILE], others)
  else:
    path = files.expanded(source)
  if path.is_file():
    found = torch_checkpoint.load(path, vision_heads, text_heads)
    return HyperCLIP(*found)
  if not path.is_dir():
    raise FileNotFoundError(
      f"{source}: no such file or folder; a model is the workdir of a run, "
      f"a folder of {MODEL_FILE} and {WEIGHTS_FILE}, {hub.PREFIX}org/name "
      "or a .pth"
    )
  if vision_heads or text_heads:
    raise ValueError(f"{source}: heads are only needed for a .pth")
  if not (path / MODEL_FILE).exists():
    published = official.folder(path)
    if published is not None:
      return HyperCLIP(*published)
  if not any((path / name).exists() for name in (MODEL_FILE, OLD_FILE)):
    raise FileNotFoundError(
      f"{path / MODEL_FILE}: no such file; neither a run nor a released model"
      f"{_nearby(path)}"
    )
  system, options = release.described(path, trust_system)
  module = systems.find(system, trust_system)
  shapes = variable_shapes(module.encoder(options))
  is_run = checkpoint.FOLDER in {found.name for found in path.iterdir()}
  if is_run or not (path / WEIGHTS_FILE).exists():
    variables = _of_run(path, shapes)
  else:
    variables = release.read_weights(path, shapes)
  return HyperCLIP(system, options, variables, trust_system=trust_system)


def _of_run(workdir: pathlib.Path, shapes: Any) -> Any:
  """Reads the variables of a run's newest good checkpoint."""
  step, variables = checkpoint.restore_variables(workdir, shapes)
  flat = traverse_util.flatten_dict(dict(variables), sep=".")
  try:
    release.check_finite({k: np.asarray(leaf) for k, leaf in flat.items()})
  except ValueError as error:
    raise ValueError(f"{workdir}: step {step}: {error}") from error
  return variables


def _nearby(folder: pathlib.Path) -> str:
  """Suggests folders above or below that contain a model, for a message."""
  above = [*folder.resolve().parents][:3]  # run/checkpoints/STEP/state
  found = [f for f in above if (f / MODEL_FILE).is_file()][:1] or [
    path.parent for path in sorted(folder.glob(f"*/{MODEL_FILE}"))[:3]
  ]
  return f": give {' or '.join(map(str, found))}" if found else ""
