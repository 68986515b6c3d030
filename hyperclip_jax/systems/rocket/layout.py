"""Names of the published code -> leaves of our variables.

The published code has no name for the moving average of BYOLIP's model.
"""

from hyperclip_jax.systems import leaves
from hyperclip_jax.systems.leaves import Leaf, Places


def resnet(blocks: tuple[int, ...], at: tuple[str, ...] = ()) -> Places:
  """Leaves of `nn.resnet.ResNet`.

  Args:
    blocks: number of blocks of each stage.
    at: keys of the tower in the variables.
  """
  yield "conv1.weight", Leaf(("params", *at, "conv1", "kernel"), turn="conv")
  yield from batch_norm("bn1", (*at, "bn1"))
  for stage, count in enumerate(blocks, 1):
    for block in range(count):
      name, path = f"layer{stage}.{block}", (*at, f"layer{stage}_{block}")
      modules = [(f"{kind}{i}",) * 2 for i in (1, 2, 3) for kind in KINDS]
      if block == 0:
        modules += [("downsample.0", "shortcut"), SHORTCUT_NORM]
      for theirs, ours in modules:
        if "bn" in ours:
          yield from batch_norm(f"{name}.{theirs}", (*path, ours))
        else:
          kernel = ("params", *path, ours, "kernel")
          yield f"{name}.{theirs}.weight", Leaf(kernel, turn="conv")


KINDS = ("conv", "bn")
SHORTCUT_NORM = ("downsample.1", "shortcut_bn")


def vit(depth: int, at: tuple[str, ...] = ()) -> Places:
  """Leaves of `nn.vit.ViT` with learned positions.

  Args:
    depth: number of blocks.
    at: keys of the tower in the variables.
  """
  root = ("params", *at)
  yield "cls_token", Leaf((*root, "cls"), turn="cell")
  yield "pos_embed", Leaf((*root, "position_embed"), turn="row")
  patch = (*root, "patch_embed")
  yield "patch_embed.proj.weight", Leaf((*patch, "kernel"), turn="patch")
  yield "patch_embed.proj.bias", Leaf((*patch, "bias"))
  path = (*root, "transformer", "blocks")
  yield from leaves.blocks("blocks", path, leaves.VISION_BLOCK, depth)
  yield from leaves.norm("norm", (*root, "transformer", "norm"))


def text(depth: int, at: tuple[str, ...] = ()) -> Places:
  """Leaves of `nn.text.TextTransformer`.

  Args:
    depth: number of blocks.
    at: keys of the tower in the variables.
  """
  root = ("params", *at)
  yield "positional_embedding", Leaf((*root, "position_embed"))
  table = (*root, "token_embed", "embedding")
  yield "token_embedding.weight", Leaf(table)
  path, prefix = (*root, "transformer", "blocks"), "transformer.resblocks"
  yield from leaves.blocks(prefix, path, leaves.TEXT_BLOCK, depth)
  yield from leaves.norm("ln_final", (*root, "transformer", "norm"))


def dense(name: str, at: tuple[str, ...], bias: bool = True) -> Places:
  """Leaves of a linear layer."""
  kernel = Leaf(("params", *at, "kernel"), turn="transpose")
  yield f"{name}.weight", kernel
  if bias:
    yield f"{name}.bias", Leaf(("params", *at, "bias"))


def batch_norm(name: str, at: tuple[str, ...], affine: bool = True) -> Places:
  """Leaves of a BatchNorm, with its running statistics."""
  if affine:
    yield from leaves.norm(name, ("params", *at))
  yield f"{name}.running_mean", Leaf(("batch_stats", *at, "mean"))
  yield f"{name}.running_var", Leaf(("batch_stats", *at, "var"))
