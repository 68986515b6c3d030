"""The official code's PyTorch checkpoints (`hycoclip_vit_b.pth` and kin).

Files are read with `weights_only=True`: nothing in them is executed.
"""

import io
import pathlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from hyperclip_jax import files, sections, systems
from hyperclip_jax.checkpoints import file_kinds, official, torch_layout
from hyperclip_jax.checkpoints.release import Release, check_finite, differing
from hyperclip_jax.checkpoints.torch_layout import State
from hyperclip_jax.files import shown
from hyperclip_jax.geometry.cones import MIN_RADIUS
from hyperclip_jax.nn.vit import sincos_positions

# Heads cannot be told from a file's shapes: width -> heads, as published.
VISION_HEADS = {384: 12, 768: 12, 1024: 16}
TEXT_HEADS = {512: 8}

BUFFERS = ("pixel_mean", "pixel_std", "visual.pos_embed")
COUNTER = "num_batches_tracked"  # of a BatchNorm, an integer
MEAN = ".running_mean"  # of a BatchNorm
MASK = "textual.attn_mask"  # which causal attention needs not
# What the sizes of the model are read from.
SIZED_BY = {
  "visual.patch_embed.proj.weight": 4,
  "visual.pos_embed": 3,
  "textual.token_embed.weight": 2,
  "textual.posit_embed": 2,
  "visual_proj.weight": 2,
}


# Where a checkpoint may hold its state dict: as the official code, Lightning.
HOLDERS = ("model", "state_dict", "model_state_dict")
# Parts of names that wrappers of a module add, in any order.
WRAPPERS = ("module", "_orig_mod", "model")


def load(
  path: str | pathlib.Path,
  vision_heads: int | None = None,
  text_heads: int | None = None,
) -> Release:
  """Reads an official checkpoint of CLIP, MERU, HyCoCLIP or a successor.

  Floats of other widths are cast to float32, and the names of wrappers, such
  as `module.`, taken off.

  Args:
    path: the `.pth` file.
    vision_heads: attention heads of the image tower, where its width is not
      one of the published models'.
    text_heads: likewise of the text tower.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: PyTorch is not installed.
    ValueError: the file is not such a checkpoint, or holds weights that are
      not finite; keys missing and unexpected are listed.
  """
  state = state_dict(path, read(path))
  heads = {"vision_heads": vision_heads, "text_heads": text_heads}
  try:
    if own := official.find(state):
      given = {name: count for name, count in heads.items() if count}
      floats = {n: x for n, x in state.items() if not n.endswith(COUNTER)}
      return official.release(own, arrays(floats), given or None)
    system = (
      torch_layout.derived(state)
      or ("curv" not in state and "clip")
      or ("meru" if "meru" in pathlib.Path(path).name.lower() else "hycoclip")
    )
    return convert(arrays(state), system, vision_heads, text_heads)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def save(path: str | pathlib.Path, model: Release) -> None:
  """Writes a checkpoint that the official code loads; `load` undoes it.

  Args:
    path: file to write.
    model: system, options and variables.

  Raises:
    ValueError: the official code has no such model.
    ImportError: PyTorch is not installed.
    OSError: it cannot be written.
  """
  own = official.layout(model.system)
  if own is None:
    content = {"model": tensors(model), "iteration": 0}
  else:
    state = own.write(model.options, model.variables)
    content = {"state_dict": _wrapped(state), "epoch": 0}
  write(path, content)


def _wrapped(state: State) -> dict[str, Any]:
  """Makes tensors, named as in DistributedDataParallel, and counts of norms."""
  torch = import_torch()
  found = {
    f"module.{name}": torch.from_numpy(np.array(array, np.float32))
    for name, array in state.items()
  }
  norms = [name.rpartition(".")[0] for name in found if name.endswith(MEAN)]
  return found | {f"{n}.{COUNTER}": torch.tensor(0) for n in norms}


def read(path: str | pathlib.Path) -> dict[str, Any]:
  """All of a checkpoint, as tensors and plain values.

  What is surely no checkpoint is refused before PyTorch is imported.

  Raises:
    FileNotFoundError, ImportError, ValueError: as `load`.
  """
  path = files.expanded(path)
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  found = file_kinds.mistaken(path)
  if found:
    raise ValueError(f"{path}: {found}")
  torch = import_torch()
  try:
    _check_sizes(path)
    with warnings.catch_warnings():  # sparse tensors are slow, and refused here
      warnings.simplefilter("ignore", UserWarning)
      checkpoint = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # hostile bytes raise nearly anything
    raise ValueError(
      f"{path}: not a PyTorch checkpoint of plain tensors, and nothing in it "
      f"was run: {_reason(error)}"
    ) from error
  if not isinstance(checkpoint, dict):
    kind = type(checkpoint).__name__
    raise ValueError(f"{path}: no state dict in the checkpoint; found a {kind}")
  return checkpoint


def write(path: str | pathlib.Path, checkpoint: dict[str, Any]) -> None:
  """Writes a checkpoint by torch.save, whole or not at all; `read` undoes it.

  Args:
    path: file to write; its folder is made where it is missing.
    checkpoint: tensors and plain values.

  Raises:
    OSError: it cannot be written, such as for want of room.
  """
  buffer = io.BytesIO()
  import_torch().save(checkpoint, buffer)
  path = files.expanded(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(path, buffer.getvalue())


def state_dict(
  path: str | pathlib.Path, checkpoint: Mapping[Any, Any]
) -> dict[str, Any]:
  """The tensors of a checkpoint by name, without names of wrappers.

  Args:
    path: file of the checkpoint, for messages.
    checkpoint: what `read` returns: a state dict under one of `HOLDERS`, or
      one by itself. DistributedDataParallel, torch.compile and Lightning
      modules put `WRAPPERS` into its names.

  Raises:
    ValueError: there is none, or it claims more bytes than the file has.
  """
  torch = import_torch()
  held = [checkpoint[key] for key in HOLDERS if key in checkpoint]
  state = next((x for x in held if isinstance(x, dict)), checkpoint)
  if not any(isinstance(value, torch.Tensor) for value in state.values()):
    found = [shown(key) for key in sorted(map(str, checkpoint))[:4]]
    raise ValueError(
      f"{path}: no 'model' state dict in the checkpoint; found {found}"
    )
  claimed = sum(
    value.numel() * value.element_size()
    for value in state.values()
    if isinstance(value, torch.Tensor)
  )
  if claimed > files.expanded(path).stat().st_size:
    raise ValueError(
      f"{path}: its tensors claim {claimed:,} bytes, more than the file has"
    )
  named: dict[str, Any] = {}
  for name, value in state.items():
    parts = str(name).split(".")
    bare = ".".join(part for part in parts if part not in WRAPPERS)
    if bare in named:
      raise ValueError(
        f"{path}: holds {shown(bare)} twice, with and without a prefix of "
        f"{', '.join(WRAPPERS)}"
      )
    named[bare] = value
  return named


def arrays(state: Mapping[str, Any]) -> State:
  """A state dict of tensors as float32 arrays, without the text tower's mask.

  Raises:
    ValueError: an entry is no dense tensor of floats.
  """
  torch = import_torch()
  floats = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
  found = {}
  for name, value in state.items():
    if name == MASK:
      continue
    tensor = isinstance(value, torch.Tensor)
    if not tensor or value.dtype not in floats:
      kind = getattr(value, "dtype", type(value).__name__)
      raise ValueError(f"key {shown(name)} is {kind}, not a tensor of floats")
    if value.layout != torch.strided or value.is_meta:
      raise ValueError(f"key {shown(name)} is a tensor without dense values")
    # Parameters want gradients, which NumPy has not.
    found[name] = value.detach().float().numpy()
  return found


def convert(
  state: State,
  system: str,
  vision_heads: int | None = None,
  text_heads: int | None = None,
) -> Release:
  """Converts official arrays to our variables.

  Args:
    state: arrays by their official names.
    system: name of the system, such as "hycoclip".
    vision_heads: attention heads of the image tower, where its width is not
      one of the published models'.
    text_heads: likewise of the text tower.

  Raises:
    ValueError: they are not those of such a model.
  """
  if any(np.ndim(state.get(name, 0)) != n for name, n in SIZED_BY.items()):
    raise ValueError(_foreign(state, {*SIZED_BY, *BUFFERS[:2]}))
  width, _, patch, _ = state["visual.patch_embed.proj.weight"].shape
  vocab, text_width = state["textual.token_embed.weight"].shape
  side = round((state["visual.pos_embed"].shape[1] - 1) ** 0.5)
  values: dict[str, Any] = {
    "image_size": side * patch,
    "vision": {
      "width": width,
      "depth": _depth(state, "visual.blocks."),
      "heads": _heads("vision", width, vision_heads, VISION_HEADS),
      "patch": patch,
    },
    "text": {
      "width": text_width,
      "depth": _depth(state, "textual.resblocks."),
      "heads": _heads("text", text_width, text_heads, TEXT_HEADS),
      "vocab": vocab,
      "context": state["textual.posit_embed"].shape[0],
    },
    "embed_dim": state["visual_proj.weight"].shape[0],
    "dtype": "float32",
  }
  cls = systems.find(system).Options
  if own := torch_layout.published(system):
    values |= own.options(state, values["embed_dim"])
  options: Any = sections.build(cls, values)
  wanted = torch_layout.shapes(system, options)
  names = {*wanted, *BUFFERS}
  spare = {MASK, *torch_layout.unused(system, options)}
  if names != state.keys() - spare:
    raise ValueError(_foreign(state, names))
  wanted |= {"pixel_mean": (3, 1, 1), "pixel_std": (3, 1, 1)}
  for name, shape in wanted.items():
    if state[name].shape != shape:
      raise ValueError(
        f"key {name!r} has shape {state[name].shape}, wanted {shape}"
      )
  check_finite({name: state[name] for name in names})
  _check_positions(state["visual.pos_embed"][0, 1:], width)
  values |= {n: state[n].ravel().tolist() for n in ("pixel_mean", "pixel_std")}
  options = sections.build(cls, values)
  params = torch_layout.to_tree(state, system, options)
  return Release(system, options, {"params": params})


def tensors(model: Release) -> dict[str, Any]:
  """The official state dict: parameters and buffers as tensors.

  Raises:
    ValueError: the official code has no such system, or not its options.
  """
  torch = import_torch()
  system, o, variables = model
  torch_layout.scalars(system, o)  # refuses other systems
  # The official code has it as a constant.
  if getattr(o, "min_radius", MIN_RADIUS) != MIN_RADIUS:
    raise ValueError(
      f"min_radius {o.min_radius}: official checkpoints have cones of "
      f"{MIN_RADIUS} and no place for others; save a release instead, with "
      "save_pretrained"
    )
  tree = jax.tree.map(np.asarray, variables["params"])
  side = o.image_size // o.vision.patch
  cls_and_patches = torch.cat(
    [torch.zeros(1, o.vision.width), _positions(side, o.vision.width)]
  )
  return {
    name: torch.from_numpy(np.array(array, np.float32))  # an own, dense copy
    for name, array in torch_layout.to_state(tree, system, o).items()
  } | {
    "pixel_mean": torch.tensor(o.pixel_mean).view(3, 1, 1),
    "pixel_std": torch.tensor(o.pixel_std).view(3, 1, 1),
    **{name: torch.zeros(()) for name in torch_layout.unused(system, o)},
    "visual.pos_embed": cls_and_patches[None],
    MASK: torch.ones(o.text.context, o.text.context).triu(1).bool(),
  }


def import_torch() -> Any:
  """PyTorch, or an error that says how to get it."""
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      ".pth files need PyTorch: pip install 'hyperclip-jax[torch]'"
    ) from error
  return torch


def _check_sizes(path: pathlib.Path) -> None:
  """Refuses entries for which PyTorch would make more room than the file has.

  Raises:
    ValueError: there is one.
  """
  size = path.stat().st_size
  with zipfile.ZipFile(path) as file:
    for entry in file.infolist():
      if entry.compress_type or entry.file_size > size:
        raise ValueError(
          f"{entry.filename} in it is compressed or claims to be larger "
          f"({entry.file_size:,} bytes) than the file"
        )


def _reason(error: Exception) -> str:
  """Why PyTorch refused a file, on one line."""
  refused = re.search(r"GLOBAL (\S+)", str(error))
  if refused:
    return (
      f"it also holds {shown(refused[1])}; keep the tensors alone, by "
      "torch.save({'model': model.state_dict()}, FILE)"
    )
  return shown(" ".join(str(error).split()))


def _positions(side: int, width: int) -> Any:
  """`sincos_positions` in PyTorch's float32, as the official code has it."""
  torch = import_torch()
  powers = torch.arange(width // 4, dtype=torch.float32) / (width // 4)
  frequencies = 1.0 / 10_000.0**powers  # a product rounds as theirs does
  angles = torch.arange(side, dtype=torch.float32)[:, None] * frequencies
  waves = torch.cat([angles.sin(), angles.cos()], dim=1)
  rows, columns = waves.repeat_interleave(side, 0), waves.repeat(side, 1)
  return torch.cat([rows, columns], dim=1)


def _depth(state: State, prefix: str) -> int:
  return len({n.split(".")[2] for n in state if n.startswith(prefix)})


def _heads(
  tower: str, width: int, heads: int | None, published: Mapping[int, int]
) -> int:
  if heads is None and width not in published:
    raise ValueError(
      f"a {tower} tower of width {width} is none of the published "
      f"({sorted(published)}): give {tower}_heads"
    )
  return heads or published[width]


def _check_positions(found_PD: np.ndarray, width: int) -> None:
  side = round(len(found_PD) ** 0.5)
  if side**2 != len(found_PD) or not np.allclose(
    found_PD, sincos_positions(side, width), atol=1e-5
  ):
    raise ValueError(
      "visual.pos_embed holds other than fixed 2D sin-cos positions: "
      "this image tower cannot represent it"
    )


def _foreign(state: State, wanted: Iterable[str]) -> str:
  return (
    "no official checkpoint of CLIP, MERU, HyCoCLIP or a successor: "
    f"{differing(state, wanted)}"
  )
