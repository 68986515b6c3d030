"""The official code's PyTorch checkpoints (`hycoclip_vit_b.pth` and kin).

Files are read with `weights_only=True`: nothing in them is executed.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hyperclip_jax.models.dual_encoder import DualEncoder
from hyperclip_jax.models.text import TextTransformer
from hyperclip_jax.models.vit import ViT, sincos_positions

State = Mapping[str, np.ndarray]

# Heads cannot be told from a file's shapes: width -> heads, as published.
VISION_HEADS = {384: 12, 768: 12, 1024: 16}
TEXT_HEADS = {512: 8}

# our leaf of a block: (official name in the image tower, in the text tower)
BLOCK_MODULES = {
  "norm1": ("norm1", "ln_1"),
  "qkv": ("attn.qkv", "attn.in_proj"),
  "out": ("attn.proj", "attn.out_proj"),
  "norm2": ("norm2", "ln_2"),
  "fc1": ("mlp.fc1", "mlp.c_fc"),
  "fc2": ("mlp.fc2", "mlp.c_proj"),
}


def load(
  path: str | pathlib.Path,
  vision_heads: int | None = None,
  text_heads: int | None = None,
) -> tuple[DualEncoder, dict[str, Any]]:
  """Reads an official checkpoint of CLIP, MERU or HyCoCLIP.

  Args:
    path: the `.pth` file.
    vision_heads: attention heads of the image tower, where its width is not
      one of the published models'.
    text_heads: likewise of the text tower.

  Returns:
    The model, with the file's own pixel mean and std, and its parameters.

  Raises:
    ImportError: PyTorch is not installed.
    ValueError: the file is not such a checkpoint.
  """
  state = read_state(path)
  try:
    return convert(state, vision_heads, text_heads)
  except KeyError as error:
    raise ValueError(
      f"{path}: no official CLIP, MERU or HyCoCLIP checkpoint: "
      f"key {error} is missing; found {sorted(state)[:5]}..."
    ) from error


def read_state(path: str | pathlib.Path) -> State:
  """The file's `model` state dict as numpy arrays."""
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      "reading .pth files needs PyTorch: pip install 'hyperclip-jax[torch]'"
    ) from error
  checkpoint = torch.load(path, map_location="cpu", weights_only=True)
  if "model" not in checkpoint:
    raise ValueError(
      f"{path}: no 'model' in the checkpoint; found {sorted(checkpoint)}"
    )
  return {name: value.numpy() for name, value in checkpoint["model"].items()}


def convert(
  state: State, vision_heads: int | None = None, text_heads: int | None = None
) -> tuple[DualEncoder, dict[str, Any]]:
  """Official state dict -> our model and parameters (see `load`)."""
  patch_weight = state["visual.patch_embed.proj.weight"]
  width, _, patch, _ = patch_weight.shape
  vocab, text_width = state["textual.token_embed.weight"].shape
  hyperbolic = "curv" in state
  model = DualEncoder(
    vision=ViT(
      width=width,
      depth=_depth(state, "visual.blocks."),
      heads=_heads("vision", width, vision_heads, VISION_HEADS),
      patch=patch,
    ),
    text=TextTransformer(
      width=text_width,
      depth=_depth(state, "textual.resblocks."),
      heads=_heads("text", text_width, text_heads, TEXT_HEADS),
      vocab=vocab,
      context=state["textual.posit_embed"].shape[0],
    ),
    embed_dim=state["visual_proj.weight"].shape[0],
    hyperbolic=hyperbolic,
    pixel_mean=tuple(state["pixel_mean"].ravel().tolist()),
    pixel_std=tuple(state["pixel_std"].ravel().tolist()),
  )
  _check_positions(state["visual.pos_embed"][0, 1:], width)

  scalars = ["logit_scale"]
  if hyperbolic:
    scalars += ["curv", "visual_alpha", "textual_alpha"]
  params = {name: state[name].reshape(()) for name in scalars} | {
    "vision": {
      "cls": state["visual.cls_token"].reshape(width),
      "patch_embed": {
        "kernel": patch_weight.transpose(2, 3, 1, 0).reshape(-1, width),
        "bias": state["visual.patch_embed.proj.bias"],
      },
      "transformer": {
        "blocks": _blocks(state, "visual.blocks.", column=0),
        "norm": _norm(state, "visual.norm"),
      },
    },
    "text": {
      "token_embed": {"embedding": state["textual.token_embed.weight"]},
      "position_embed": state["textual.posit_embed"],
      "transformer": {
        "blocks": _blocks(state, "textual.resblocks.", column=1),
        "norm": _norm(state, "textual.ln_final"),
      },
    },
    "visual_proj": {"kernel": state["visual_proj.weight"].T},
    "textual_proj": {"kernel": state["textual_proj.weight"].T},
  }
  return model, params


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
  if not np.allclose(found_PD, sincos_positions(side, width), atol=1e-5):
    raise ValueError(
      "visual.pos_embed holds other than fixed 2D sin-cos positions: "
      "this image tower cannot represent it"
    )


def _norm(state: State, name: str) -> dict[str, np.ndarray]:
  return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}


def _dense(state: State, name: str) -> dict[str, np.ndarray]:
  # nn.MultiheadAttention writes in_proj_weight, everything else .weight
  separator = "_" if name.endswith("in_proj") else "."
  weight = state[f"{name}{separator}weight"]
  return {"kernel": weight.T, "bias": state[f"{name}{separator}bias"]}


def _blocks(state: State, prefix: str, column: int) -> dict[str, Any]:
  """All blocks of one tower, each parameter stacked over depth."""

  def module(ours: str, layer: int) -> dict[str, np.ndarray]:
    name = f"{prefix}{layer}.{BLOCK_MODULES[ours][column]}"
    convert = _norm if ours.startswith("norm") else _dense
    return convert(state, name)

  def stacked(ours: str) -> Iterator[tuple[str, np.ndarray]]:
    layers = [module(ours, i) for i in range(_depth(state, prefix))]
    for leaf in layers[0]:
      yield leaf, np.stack([layer[leaf] for layer in layers])

  return {ours: dict(stacked(ours)) for ours in BLOCK_MODULES}
