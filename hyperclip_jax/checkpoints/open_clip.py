"""State dicts of OpenAI's CLIP and of open_clip, for towers like ours.

Their towers differ from ours in details: an image tower with learned positions
and a LayerNorm before its blocks, often QuickGELU in the MLPs. So such a state
dict is a start for training, not a model to use.
"""

import pathlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from hyperclip_jax import files
from hyperclip_jax.checkpoints import (
  file_kinds,
  official,
  tensors,
  torch_checkpoint,
)
from hyperclip_jax.checkpoints.torch_layout import State
from hyperclip_jax.files import shown
from hyperclip_jax.systems.dual_encoder import CLIP_MEAN, CLIP_STD
from hyperclip_jax.systems.leaves import TEXT_BLOCK

HEAD = 64  # width of an attention head in all of their models
MARK = "visual.transformer.resblocks.0.attn.in_proj_weight"

Path = tuple[str, ...]

_BLOCK = re.compile(
  r"(visual\.|text\.|)transformer\.resblocks\.(\d{1,4})\."
  rf"({'|'.join(map(re.escape, TEXT_BLOCK))})[._](weight|bias)"
)
_TEXT = {
  "token_embedding.weight": ("text", "token_embed", "embedding"),
  "positional_embedding": ("text", "position_embed"),
  "ln_final.weight": ("text", "transformer", "norm", "scale"),
  "ln_final.bias": ("text", "transformer", "norm", "bias"),
  "text_projection": ("textual_proj", "kernel"),
}
_OTHERS: dict[str, Path] = {
  "visual.ln_post.weight": ("vision", "transformer", "norm", "scale"),
  "visual.ln_post.bias": ("vision", "transformer", "norm", "bias"),
  "visual.proj": ("visual_proj", "kernel"),
  "logit_scale": ("logit_scale",),
  **_TEXT,
  **{f"text.{name}": path for name, path in _TEXT.items()},
}


def read(path: pathlib.Path) -> State | None:
  """Reads a state dict of this layout.

  Args:
    path: .pt, .pth or .bin of a state dict, or a .safetensors file.

  Returns:
    Arrays by name; None if the file is of another layout.

  Raises:
    ImportError: PyTorch is not installed, which a .pt needs.
    ValueError: it is no file of plain tensors, or they are not finite.
  """
  if path.suffix == ".safetensors":
    with tensors.opened(path) as file:
      names = [*file.keys()]
      if not matches(names):
        return None
      return {name: np.asarray(file.get_tensor(name)) for name in names}
  if file_kinds.mistaken(path):
    return None  # which `load` explains
  checkpoint = torch_checkpoint.read(path)
  state = torch_checkpoint.state_dict(path, checkpoint)
  if not matches(state):
    return None
  floats = {
    name: x
    for name, x in state.items()
    if not name.endswith("attn_mask")
    and getattr(x, "is_floating_point", bool)()
  }
  try:
    return torch_checkpoint.arrays(floats)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def matches(names: Iterable[str]) -> bool:
  """Checks whether the names of arrays are those of this layout."""
  names = {*names}
  return MARK in names and official.find(names) is None


def convert(state: State, wanted: Collection[Path]) -> dict[Path, np.ndarray]:
  """Converts arrays to leaves like those of `systems.dual_encoder`.

  Args:
    state: arrays by name.
    wanted: paths of the leaves of the model to start. If it has no learned
      positions of images, that of CLS is added to CLS, and the others are left
      out.

  Returns:
    Path -> float32 array.
  """
  found: dict[Path, Any] = {}
  layers: dict[Path, dict[int, np.ndarray]] = {}
  for name, array in state.items():
    array = np.asarray(array, np.float32)
    if match := _BLOCK.fullmatch(name):
      of, layer, module, kind = match.groups()
      ours = TEXT_BLOCK[module]
      tower = "vision" if of == "visual." else "text"
      if kind == "weight":
        kind = "scale" if ours.startswith("norm") else "kernel"
      path = (tower, "transformer", "blocks", ours, kind)
      turned = array.T if kind == "kernel" else array
      layers.setdefault(path, {})[int(layer)] = turned
    elif name in _OTHERS:
      one = name == "logit_scale" and array.size == 1  # or of shape (1,)
      found[_OTHERS[name]] = array.reshape(()) if one else array
  for path, by_layer in layers.items():
    if [*sorted(by_layer)] == [*range(len(by_layer))]:
      found[path] = np.stack([by_layer[i] for i in range(len(by_layer))])
  return found | _image_ends(state, wanted)


def _image_ends(state: State, wanted: Collection[Path]) -> dict[Path, Any]:
  """Converts what comes before the blocks of the image tower."""
  found: dict[Path, Any] = {}
  if "visual.conv1.weight" in state:
    kernel = np.asarray(state["visual.conv1.weight"], np.float32)
    flat = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))
    found["vision", "patch_embed", "kernel"] = flat
  cls = state.get("visual.class_embedding")
  positions = state.get("visual.positional_embedding")
  if cls is None or positions is None:
    return found
  cls, positions = (np.asarray(x, np.float32) for x in (cls, positions))
  if ("vision", "position_embed") in wanted:
    found["vision", "position_embed"] = positions
  else:
    cls = cls + positions[0]
  return found | {("vision", "cls"): cls}


def check_heads(options: Any) -> None:
  """Checks that attention is split as in their models.

  Args:
    options: options of the model to start.

  Raises:
    ValueError: the heads of a tower have another width.
  """
  for name in ("vision", "text"):
    tower = getattr(options, name)
    if tower.width != HEAD * tower.heads:
      raise ValueError(
        f"OpenAI's and open_clip's heads are {HEAD} wide: set "
        f"config.model.{name}.heads={max(1, tower.width // HEAD)}, found "
        f"{shown(tower.heads)} of width {tower.width}"
      )


def advice(options: Any) -> str | None:
  """Returns what else to set so that the towers see what they were trained on.

  Args:
    options: options of the model to start.

  Returns:
    A sentence, or None.
  """
  mean = getattr(options, "pixel_mean", CLIP_MEAN)
  if np.allclose(mean, CLIP_MEAN, atol=1e-4):
    return None
  return (
    "OpenAI's pixels are normalised otherwise: set "
    f"--config.model.pixel_mean='{CLIP_MEAN}' "
    f"--config.model.pixel_std='{CLIP_STD}'"
  )


def left(
  state: State, wanted: Mapping[Path, tuple[int, ...]]
) -> dict[str, str]:
  """Lists what a model cannot take.

  Args:
    state: arrays by name.
    wanted: path -> shape of each leaf of the model to start.

  Returns:
    Their name or our path -> why.
  """
  found = {
    name: "has no place here"
    for name in state
    if not _BLOCK.fullmatch(name)
    and name not in (*_OTHERS, "visual.conv1.weight", "visual.class_embedding")
  }
  if ("vision", "position_embed") in wanted:
    found.pop("visual.positional_embedding", None)
  for path, array in convert(state, wanted.keys()).items():
    if path not in wanted:
      found["/".join(path)] = "has no place here"
    elif wanted[path] != array.shape:
      found["/".join(path)] = f"is {array.shape}, here {wanted[path]}"
  return found


def is_file(path: str | pathlib.Path) -> bool:
  """Checks whether a path is that of a file which may be of this layout."""
  path = files.expanded(path)
  return path.is_file() and path.suffix in (
    ".bin",
    ".pt",
    ".pth",
    ".safetensors",
  )
