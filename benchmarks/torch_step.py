"""A training step in PyTorch, as a reference for benchmarks/step.py.

- `Model`: the towers and losses in plain PyTorch, of the same shapes and with
  the official parameter names, so that converted weights fit.
- `official`: HyCoCLIP's own model from a checkout of its repository, which
  needs timm, torchvision and loguru.
"""

import collections
import contextlib
import importlib
import pathlib
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from hyperclip_jax.systems.dual_encoder import Options

# input of a model: images, texts, and box_images and box_texts or None
Batch = dict[str, torch.Tensor]


def _mlp(width: int, first: str, second: str) -> nn.Module:
  wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
  named = {first: wide, "act": nn.GELU(), second: narrow}
  return nn.Sequential(collections.OrderedDict(named))


class ImageAttention(nn.Module):
  """Attention as in timm: one qkv projection, fused attention."""

  def __init__(self, width: int, heads: int):
    super().__init__()
    self.heads = heads
    self.qkv = nn.Linear(width, 3 * width)
    self.proj = nn.Linear(width, width)

  def forward(self, x):
    rows, length, width = x.shape
    qkv = (
      self.qkv(x)
      .reshape(rows, length, 3, self.heads, -1)
      .permute(2, 0, 3, 1, 4)
    )
    y = F.scaled_dot_product_attention(*qkv.unbind(0))
    return self.proj(y.transpose(1, 2).reshape(rows, length, width))


class ImageBlock(nn.Module):
  def __init__(self, width: int, heads: int):
    super().__init__()
    self.norm1 = nn.LayerNorm(width)
    self.attn = ImageAttention(width, heads)
    self.norm2 = nn.LayerNorm(width)
    self.mlp = _mlp(width, "fc1", "fc2")

  def forward(self, x):
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class Image(nn.Module):
  def __init__(
    self, width: int, depth: int, heads: int, patch: int, image_size: int
  ):
    super().__init__()
    self.patch_embed = nn.Module()
    self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
    self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
    count = (image_size // patch) ** 2 + 1
    self.register_buffer("pos_embed", torch.zeros(1, count, width))
    self.blocks = nn.Sequential(
      *(ImageBlock(width, heads) for _ in range(depth))
    )
    self.norm = nn.LayerNorm(width)

  def forward(self, images):
    x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)
    x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
    return self.norm(self.blocks(x + self.pos_embed))[:, 0]


class TextBlock(nn.Module):
  def __init__(self, width: int, heads: int):
    super().__init__()
    self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
    self.ln_1 = nn.LayerNorm(width)
    self.mlp = _mlp(width, "c_fc", "c_proj")
    self.ln_2 = nn.LayerNorm(width)

  def forward(self, x, mask):
    y = self.ln_1(x)
    x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
    return x + self.mlp(self.ln_2(x))


class Text(nn.Module):
  def __init__(
    self, width: int, depth: int, heads: int, vocab: int, context: int
  ):
    super().__init__()
    self.token_embed = nn.Embedding(vocab, width)
    self.posit_embed = nn.Parameter(torch.zeros(context, width))
    self.resblocks = nn.ModuleList(
      TextBlock(width, heads) for _ in range(depth)
    )
    self.ln_final = nn.LayerNorm(width)
    mask = torch.ones(context, context).triu(1).bool()
    self.register_buffer("attn_mask", mask)

  def forward(self, tokens):
    length = tokens.shape[1]
    x = self.token_embed(tokens) + self.posit_embed[:length]
    for block in self.resblocks:
      x = block(x, self.attn_mask[:length, :length])
    x = self.ln_final(x)
    return x[torch.arange(len(x), device=x.device), tokens.argmax(1)]


class Model(nn.Module):
  """Towers, projections, lift and loss; returns the loss of a batch."""

  def __init__(
    self,
    options: Options,
    objective: str,
    weights: dict[str, torch.Tensor],
  ):
    super().__init__()
    vision, text = options.vision, options.text
    self.objective = objective
    self.visual = Image(
      vision.width, vision.depth, vision.heads, vision.patch, options.image_size
    )
    self.textual = Text(
      text.width, text.depth, text.heads, text.vocab, text.context
    )
    self.visual_proj = nn.Linear(vision.width, options.embed_dim, bias=False)
    self.textual_proj = nn.Linear(text.width, options.embed_dim, bias=False)
    hyperbolic = ("curv", "visual_alpha", "textual_alpha")
    for name in ("logit_scale", *(hyperbolic if objective != "clip" else ())):
      setattr(self, name, nn.Parameter(torch.zeros(())))
    for name in ("pixel_mean", "pixel_std"):
      self.register_buffer(name, torch.ones(3, 1, 1))
    self.load_state_dict(weights)

  def _lift(self, features, alpha: str):
    if self.objective == "clip":
      return F.normalize(features.float(), dim=-1)
    curv = self.curv.exp()
    v = features.float() * getattr(self, alpha).exp()
    r = curv.sqrt() * v.norm(dim=-1, keepdim=True)
    return torch.sinh(r) / r.clamp(min=1e-8) * v

  def _image(self, images):
    pixels = (images - self.pixel_mean) / self.pixel_std
    return self._lift(self.visual_proj(self.visual(pixels)), "visual_alpha")

  def _text(self, tokens):
    return self._lift(self.textual_proj(self.textual(tokens)), "textual_alpha")

  def forward(self, batch: Batch) -> torch.Tensor:
    image, text = self._image(batch["images"]), self._text(batch["texts"])
    boxes: tuple = ()
    if self.objective == "hycoclip":
      boxes = self._image(batch["box_images"]), self._text(batch["box_texts"])
    with torch.autocast(image.device.type, enabled=False):
      return self._loss(image, text, *boxes)

  def _loss(self, image, text, box_image=None, box_text=None):
    scale = self.logit_scale.exp()
    if self.objective == "clip":
      logits = scale * image @ text.T
      return (_contrast(logits) + _contrast(logits.T)) / 2
    curv = self.curv.exp()
    logits = -scale * _distances(image, text, curv)
    both = _contrast(logits) + _contrast(logits.T)
    if self.objective == "meru":
      return both / 2 + 0.2 * _entail(text, image, curv, 1.0)
    boxes = _contrast(-scale * _distances(box_image, text, curv))
    boxes = boxes + _contrast(-scale * _distances(box_text, image, curv))
    cones = (
      _entail(text, image, curv, 0.7)
      + _entail(box_text, box_image, curv, 0.7)
      + _entail(box_image, image, curv, 1.2)
      + _entail(box_text, text, curv, 1.2)
    )
    return (both + boxes) / 4 + 0.1 * cones


def _contrast(logits):
  return F.cross_entropy(
    logits, torch.arange(len(logits), device=logits.device)
  )


def _time(x, curv):
  return torch.sqrt(1 / curv + (x * x).sum(-1))


def _distances(x, y, curv):
  inner = x @ y.T - _time(x, curv)[:, None] * _time(y, curv)[None]
  return torch.acosh((-curv * inner).clamp(min=1 + 1e-7)) / curv.sqrt()


def _entail(general, specific, curv, eta: float):
  t_x, t_y = _time(general, curv), _time(specific, curv)
  inner = curv * ((general * specific).sum(-1) - t_x * t_y)
  norm = general.norm(dim=-1)
  below = norm * (inner**2 - 1).clamp(min=1e-8).sqrt()
  cosine = (t_y + inner * t_x) / below
  angle = torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))
  sine = (0.2 / (norm * curv.sqrt())).clamp(max=1 - 1e-7)
  return (angle - eta * torch.asin(sine)).clamp(min=0).mean()


def official(
  path: pathlib.Path,
  options: Options,
  vit: str,
  objective: str,
  weights: dict[str, torch.Tensor],
) -> nn.Module:
  """Loads HyCoCLIP's own model from the root of a checkout.

  Args:
    path: checkout.
    options: sizes of our model.
    vit: "S", "B" or "L".
    objective: "hycoclip", "meru" or "clip".
    weights: weights by official name.

  Returns:
    Module that returns the loss of a batch.
  """
  sys.path.insert(0, str(path))
  models = importlib.import_module("hycoclip.models")
  images = importlib.import_module("hycoclip.encoders.image_encoders")
  texts = importlib.import_module("hycoclip.encoders.text_encoders")
  text = options.text
  # timm's small model has 6 heads, HyCoCLIP's has 12
  sizes = {"S": "small_mocov3", "B": "base", "L": "large"}
  visual = images.build_timm_vit(
    arch=f"vit_{sizes[vit]}_patch16_224",
    global_pool="token",
    use_sincos2d_pos=True,
  )
  textual = texts.TransformerTextEncoder(
    arch=f"L{text.depth}_W{text.width}",
    vocab_size=text.vocab,
    context_length=text.context,
  )
  if objective == "clip":
    built = models.CLIPBaseline(visual, textual, options.embed_dim)
  else:
    name = {"meru": "MERU", "hycoclip": "HyCoCLIP"}[objective]
    built = getattr(models, name)(
      visual, textual, options.embed_dim, entail_weight=0.2
    )
  built.load_state_dict(weights)
  return _Official(built)


class _Official(nn.Module):
  """Adapts the official model to a `Batch`, like `Model`."""

  def __init__(self, model: nn.Module):
    super().__init__()
    self.model = model

  def forward(self, batch: Batch) -> torch.Tensor:
    names = [n for n in ("images", "box_images") if n in batch]
    texts = [n for n in ("texts", "box_texts") if n in batch]
    tokens = [list(batch[n].unbind(0)) for n in texts]
    return self.model(*(batch[n] for n in names), *tokens)["loss"]


def step(
  model: nn.Module, batch: Batch, bfloat16: bool, compiled: bool
) -> Callable[[], torch.Tensor]:
  """Makes a function that takes one AdamW step on the batch's device.

  Args:
    model: model that returns the loss of a batch.
    batch: batch for all steps.
    bfloat16: whether to use autocast.
    compiled: whether to use torch.compile.

  Returns:
    Function that returns the loss.
  """
  device = next(iter(batch.values())).device
  model = model.to(device).train()
  parameters = list(model.parameters())
  optimizer = torch.optim.AdamW(
    parameters, 5e-4, (0.9, 0.98), 1e-8, 0.2, fused=True
  )
  forward = torch.compile(model) if compiled else model

  def run() -> torch.Tensor:
    precise = contextlib.nullcontext()
    if bfloat16:
      precise = torch.autocast(device.type, torch.bfloat16)
    with precise:
      loss = forward(batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()

  return run
