"""Trained models, wherever they lie: runs, releases, the hub, .pth files."""

import pathlib

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from hyperclip_jax import files
from hyperclip_jax.checkpoints import hub, release, torch_checkpoint
from hyperclip_jax.checkpoints.checkpoint import Checkpoints, abstract
from hyperclip_jax.checkpoints.release import CONFIG_FILE, WEIGHTS_FILE
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.systems import build
from hyperclip_jax.systems.objectives import OBJECTIVES
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config


def load(
  source: str | pathlib.Path,
  vision_heads: int | None = None,
  text_heads: int | None = None,
) -> HyperCLIP:
  """A trained model. Pixel mean and std are always those of the source.

  Args:
    source: the workdir of a training run (its newest checkpoint), a folder of
      `save_pretrained`, an official `.pth`, or one of the latter two on the
      hub: `hf-hub:org/name` or `hf-hub:org/name/FILE.pth`, with `@revision`
      after the name to pin a branch, tag or commit. A `.pth` does not say whose
      it is where both are hyperbolic: it is MERU's if the file name says so, or
      else HyCoCLIP's. They are used alike.
    vision_heads: attention heads of the image tower of a `.pth`, where its
      width is none of the published ones.
    text_heads: likewise of the text tower.

  Raises:
    FileNotFoundError: there is nothing, or a run without a checkpoint yet.
    ImportError: an extra is missing; the message says which.
    OSError: the hub cannot be reached, or has no such model.
    ValueError: it is no such model, or its weights are not finite; keys missing
      and unexpected are listed.
  """
  on_hub = str(source).startswith(hub.PREFIX)
  if on_hub:
    path = hub.download(str(source), [CONFIG_FILE, WEIGHTS_FILE])
  else:
    path = files.expanded(source)
  if path.is_file():
    return _from_torch(path, vision_heads, text_heads)
  if not path.is_dir():
    raise FileNotFoundError(
      f"{source}: no such file or folder; a model is the workdir of a run, "
      f"a folder of {CONFIG_FILE} and {WEIGHTS_FILE}, {hub.PREFIX}org/name "
      "or a .pth"
    )
  if vision_heads or text_heads:
    raise ValueError(f"{source}: heads are for a .pth; this knows its own")
  if not (path / CONFIG_FILE).exists():
    raise FileNotFoundError(
      f"{path / CONFIG_FILE}: no such file; neither a run nor a released model"
      f"{_nearby(path)}"
    )
  if on_hub or release.is_release(release.read_json(path / CONFIG_FILE)):
    return HyperCLIP(*release.read(path))
  return _from_run(path)


def read_config(workdir: str | pathlib.Path) -> Config:
  """The config a run was started with, and defaults for what came later.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: the config.json is none of a run, or has values of other types
      than a config or such as none may have.
  """
  path = files.expanded(workdir) / CONFIG_FILE
  if not path.exists():
    raise FileNotFoundError(
      f"{path}: no such file; give the --workdir of a training run"
    )
  config = release.read_json(path)
  if not {"objective", "model", "optim"} <= config.keys():
    raise ValueError(
      f"{path}: not of a training run; found the keys "
      f"{', '.join(map(files.shown, sorted(config)[:8]))}"
    )
  try:
    found: Config = ConfigDict(config)
    name = found.objective.name
    known = config_lib.paper(name if name in list(OBJECTIVES) else "clip")
    known.update(found)  # refuses values of another type
    config_lib.validate(known, devices=known.mesh.model)
  except (
    AttributeError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
  ) as error:
    reason = "\n".join(files.shown(line) for line in str(error).split("\n"))
    raise ValueError(f"{path}: not a run's config: {reason}") from error
  return known


def _from_run(workdir: pathlib.Path) -> HyperCLIP:
  config = read_config(workdir)
  shapes = jax.eval_shape(build.init(config))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  like = abstract(shapes, jax.tree.map(lambda _: device, shapes))
  with Checkpoints(workdir, read_only=True) as checkpoints:
    state, _ = checkpoints.restore(like)
  flat = traverse_util.flatten_dict(state.params, sep=".")
  try:
    release.check_finite({k: np.asarray(leaf) for k, leaf in flat.items()})
  except ValueError as error:
    raise ValueError(f"{workdir}: step {int(state.step)}: {error}") from error
  return HyperCLIP(
    config.objective.name,
    build.model(config),
    state.params,
    config.model.image_size,
  )


def _from_torch(
  path: pathlib.Path, vision_heads: int | None, text_heads: int | None
) -> HyperCLIP:
  model, params, size = torch_checkpoint.load(path, vision_heads, text_heads)
  name = "clip"
  if model.hyperbolic:
    name = "meru" if "meru" in path.name.lower() else "hycoclip"
  return HyperCLIP(name, model, params, size)


def _nearby(folder: pathlib.Path) -> str:
  """Which folder above or below may have been meant, for a message."""
  above = [*folder.resolve().parents][:3]  # run/checkpoints/STEP/state
  found = [f for f in above if (f / CONFIG_FILE).is_file()][:1] or [
    path.parent for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))[:3]
  ]
  return f": give {' or '.join(map(str, found))}" if found else ""
