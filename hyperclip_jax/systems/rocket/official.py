"""The weights of the published CLIP-Rocket code, as NumPy arrays by name.

A state dict says nothing of attention heads, of the size of a ResNet's images
and of the moving average, which `read` takes from elsewhere; and heads of
BarLIP and of SwALIP's first version are left out, as only training uses them.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from hyperclip_jax.files import shown
from hyperclip_jax.systems import leaves as leaves_lib
from hyperclip_jax.systems.leaves import Leaf, Places
from hyperclip_jax.systems.rocket import layout as layout_lib
from hyperclip_jax.systems.rocket.options import (
  SIAMESE,
  Options,
  Siam,
  Text,
  Vision,
)
from hyperclip_jax.systems.rocket.towers import encoder
from hyperclip_jax.systems.task import Variables, variable_shapes

State = Mapping[str, np.ndarray]

OWN = ("image_projector.weight", "text_projector.weight", "logit_scale")
TOWERS = {"image": ("visual", "siamlip_image", "image_text"),
          "text": ("textual", "siamlip_text", "text_image")}  # fmt: skip
# Of PyTorch's BatchNorms, and of heads that only training uses.
IGNORED = re.compile(r"(.*\.)?num_batches_tracked|(barlip|swalip|prototypes).*")
SHOWN = 4  # names in a message


def matches(names: Collection[str]) -> bool:
  """Recognises a state dict of the published code by its names."""
  bare = {_bare(name) for name in names}
  return bare.issuperset(OWN) and any(
    name.startswith("visual.") for name in bare
  )


def read(
  state: State, config: Mapping[str, Any] | None = None
) -> tuple[Options, Variables]:
  """Reads a state dict of the published code.

  Args:
    state: arrays by published name, with or without "module." in front.
    config: what the arrays do not say: "vision_heads" and "text_heads" (the
      width / 64 if absent), "model" (the published name, of which "MOCO" has
      12 heads), "momentum" (true for BYOLIP), "image_size" of a ResNet (224).

  Returns:
    Options of the system and its variables.

  Raises:
    ValueError: arrays are missing, unknown or of other shapes; they are named.
  """
  config = config or {}
  state = {
    _bare(name): np.asarray(array)
    for name, array in state.items()
    if not IGNORED.fullmatch(_bare(name))
  }
  try:
    options = _options(state, config)
  except (KeyError, IndexError, TypeError, ValueError) as error:
    raise ValueError(
      f"not of the published CLIP-Rocket: {shown(str(error))}"
    ) from error
  leaves = layout(options)
  if leaves.keys() != state.keys():
    missing, more = leaves.keys() - state.keys(), state.keys() - leaves.keys()
    raise ValueError(f"missing {_few(missing)}; unexpected {_few(more)}")
  wanted = variable_shapes(encoder(options))
  shapes = leaves_lib.shapes(leaves, wanted, options.vision.patch)
  for name, shape in shapes.items():
    if state[name].shape != shape:
      raise ValueError(
        f"{name} has the shape {state[name].shape}, the model wants {shape}"
      )
  floats = {name: array.astype(np.float32) for name, array in state.items()}
  variables: Variables = leaves_lib.to_tree(leaves, floats)
  if options.variant == "byolip":
    variables = {**variables, "ema": variables}
  return options, variables


def write(options: Options, variables: Variables) -> dict[str, np.ndarray]:
  """Writes variables as a state dict of the published code.

  Args:
    options: options of the system.
    variables: its variables; a moving average is not written.

  Returns:
    Arrays by published name, without the heads of BarLIP and of SwALIP's first
    version: only training uses them, and their published names are not known.
  """
  tree = jax.tree.map(np.asarray, dict(variables))
  return leaves_lib.to_state(layout(options), tree, options.vision.patch)


def layout(o: Options) -> dict[str, Leaf]:
  """Lists the published names of a model, and their places in its variables."""
  return dict(_layout(o))


def _layout(o: Options) -> Places:
  tower = (
    layout_lib.resnet(o.vision.blocks, ("vision",))
    if o.vision.tower == "resnet"
    else layout_lib.vit(o.vision.depth, ("vision",))
  )
  yield from ((f"visual.{name}", leaf) for name, leaf in tower)
  yield from layout_lib.text(o.text.depth, ("text",))
  yield "logit_scale", Leaf(("params", "logit_scale"))
  if o.has_strong_projector:
    yield "l2l_logit_scale", Leaf(("params", "strong_logit_scale"))
  for modality, (ours, head, predictor) in TOWERS.items():
    name = f"{modality}_projector"
    yield from layout_lib.dense(name, (f"{ours}_proj",), bias=False)
    if o.has_strong_projector:
      yield from _projector(f"l2l_{name}", (f"{ours}_strong",))
    if o.variant in SIAMESE:
      for kind in ("global", "local"):
        own = "_strong" if kind == "local" else ""
        part = own if o.separate_head else ""
        first = f"{head}_projector_{kind}"
        path = (f"{ours}_head{part}",)
        yield from _head(f"{first}.0", path, bias=False)
        norm = (f"{ours}_norm{own}",)
        yield from layout_lib.batch_norm(f"{first}.1", norm, affine=False)
        path = (f"{ours}_predictor{part}",)
        yield from _head(f"{predictor}_predictor_{kind}", path, bias=True)


def _projector(name: str, at: tuple[str, ...]) -> Places:
  for layer in (1, 2):
    yield from layout_lib.dense(f"{name}.layer{layer}", (*at, f"layer{layer}"))
    yield from layout_lib.batch_norm(f"{name}.bn{layer}", (*at, f"bn{layer}"))
  yield from layout_lib.dense(f"{name}.layer3", (*at, "layer3"))


def _head(name: str, at: tuple[str, ...], bias: bool) -> Places:
  yield from layout_lib.dense(f"{name}.0", (*at, "layer1"), bias=False)
  yield from layout_lib.batch_norm(f"{name}.1", (*at, "bn1"))
  yield from layout_lib.dense(f"{name}.3", (*at, "layer2"), bias)


def _options(state: State, config: Mapping[str, Any]) -> Options:
  vision, side = _vision(state, config)
  table, width = state["token_embedding.weight"].shape
  text = Text(
    width=width,
    depth=_count(state, r"transformer\.resblocks\.(\d+)\..*"),
    heads=_heads(config, "text_heads", width),
    vocab=table,
    context=len(state["positional_embedding"]),
  )
  strong = "l2l_logit_scale" in state
  first = "siamlip_image_projector_global.0.0.weight"
  siamese = first in state
  separate = siamese and not np.array_equal(
    state[first], state[first.replace("global", "local")]
  )
  variant = "clip_rocket" if strong else "clip"
  siam = Siam()
  if siamese:
    variant = "byolip" if config.get("momentum") else "siamlip"
    last = state[first.replace("0.0", "0.3")]
    siam = Siam(hidden=len(state[first]), out=len(last))
  hidden = state.get("l2l_image_projector.layer1.weight")
  return Options(
    variant=variant,
    image_size=side,
    vision=vision,
    text=text,
    embed_dim=len(state["image_projector.weight"]),
    separate_proj=strong or not siamese,
    projector_hidden=4_096 if hidden is None else len(hidden),
    separate_head=bool(separate),
    siam=siam,
  )


def _vision(state: State, config: Mapping[str, Any]) -> tuple[Vision, int]:
  if "visual.conv1.weight" in state:
    stages = range(1, 1 + _count(state, r"visual\.layer(\d+)\..*", first=1))
    blocks = (_count(state, rf"visual\.layer{i}\.(\d+)\..*") for i in stages)
    widths = (len(state[f"visual.layer{i}.0.conv1.weight"]) for i in stages)
    found = Vision(tower="resnet", blocks=tuple(blocks), widths=tuple(widths))
    return found, int(config.get("image_size") or 224)
  kernel = state["visual.patch_embed.proj.weight"]
  width, patch = len(kernel), kernel.shape[-1]
  found = Vision(
    width=width,
    depth=_count(state, r"visual\.blocks\.(\d+)\..*"),
    heads=_heads(config, "vision_heads", width),
    patch=patch,
  )
  return found, math.isqrt(state["visual.pos_embed"].shape[1] - 1) * patch


def _heads(config: Mapping[str, Any], name: str, width: int) -> int:
  given = config.get(name)
  if given is None and name == "vision_heads":
    given = 12 if "MOCO" in str(config.get("model", "")).upper() else None
  return int(given) if given else max(1, width // 64)


def _count(state: State, pattern: str, first: int = 0) -> int:
  """Number of modules in a row: one more than the largest, or the largest."""
  found = (re.fullmatch(pattern, name) for name in state)
  numbers = [int(match[1]) for match in found if match and len(match[1]) < 4]
  return max(numbers) + 1 - first


def _bare(name: str) -> str:
  return name.removeprefix("module.")


def _few(names: Collection[str]) -> str:
  first = [shown(name) for name in sorted(names)[:SHOWN]]
  more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
  return (", ".join(first) + more) or "nothing"
