"""The config.json of a published ProLIP, both ways, and options without one."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hyperclip_jax import sections
from hyperclip_jax.files import shown
from hyperclip_jax.systems.prolip.options import Options

State = Mapping[str, np.ndarray]

SIGLIP = "hf-hub:timm/ViT-B-16-SigLIP"
SIGLIP_SO = "hf-hub:timm/ViT-SO400M-14-SigLIP"
CLIP_VOCAB = 49_408
SHOWN = 8  # names in a message
# Heads by width, of the published models, where no config says.
VISION_HEADS = {768: 12, 1024: 16, 1152: 16, 1280: 16}
TEXT_HEADS = {768: 12, 1024: 16, 1152: 16}


def options(config: Mapping[str, Any]) -> Options:
  """Options of an official config.json.

  Raises:
    ValueError: a value is missing, unknown, or asks for another architecture.
  """
  given = _Given("config.json", config)
  vision = _Given("vision_cfg", given.take("vision_cfg"))
  text = _Given("text_cfg", given.take("text_cfg"))
  norm = _Given("norm_kwargs", text.take("norm_kwargs", {}))
  activation = "quick_gelu" if given.take("quick_gelu", False) else "gelu"
  width, vocab = vision.whole("width"), text.whole("vocab_size")
  bias = text.take("init_unc_bias", -10)
  clip = vocab == CLIP_VOCAB
  found: dict[str, Any] = {
    "image_size": vision.whole("image_size"),
    "embed_dim": given.whole("embed_dim"),
    "activation": activation,
    "dtype": "float32",
    "initial_log_var": bias,
    "tokenizer": "" if clip else SIGLIP_SO if width == 1152 else SIGLIP,
    "text_unc_readout": "mean",
    "inclusion_form": "reference",
    "bottleneck_form": "reference",
    "vision": {
      "width": width,
      "depth": vision.whole("layers"),
      "heads": width // vision.whole("head_width", 64),
      "patch": vision.whole("patch_size"),
      "mlp_ratio": vision.take("mlp_ratio", 4.0),
    },
    "text": {
      "width": text.whole("width"),
      "depth": text.whole("layers"),
      "heads": text.whole("heads"),
      "vocab": vocab,
      "context": text.whole("context_length"),
      "mlp_ratio": text.take("mlp_ratio", 4.0),
      "norm_eps": norm.take("eps", 1e-5),
    },
  }
  if vocab <= 32_000:
    found["text"]["mask_id"] = vocab - 1
  name = text.take("hf_tokenizer_name", None)
  if isinstance(name, str):
    found["tokenizer"] = f"hf-hub:{name}"
  for section, wanted in (
    (vision, {"embed_unc": True, "init_unc_bias": bias}),
    (
      text,
      {
        "embed_cls": True,
        "embed_unc": True,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
      },
    ),
  ):
    for key, value in wanted.items():
      section.must(key, value)
  for section, names in (
    (given, ("init_logit_bias", "init_logit_scale", "custom_text")),
    (text, ("pad_id", "tokenizer_kwargs")),
  ):
    for key in names:
      section.take(key, None)
  for section in (given, vision, text, norm):
    section.end()
  return sections.build(Options, found)


def config(o: Options) -> dict[str, Any]:
  """The official config.json of a model, as `options` reads it."""
  found: dict[str, Any] = {
    "embed_dim": o.embed_dim,
    "init_logit_bias": -10,
    "text_cfg": {
      "context_length": o.text.context,
      "embed_cls": True,
      "embed_unc": True,
      "heads": o.text.heads,
      "init_unc_bias": _whole(o.initial_log_var),
      "layers": o.text.depth,
      "no_causal_mask": True,
      "norm_kwargs": {"eps": o.text.norm_eps},
      "pool_type": "last",
      "proj_bias": True,
      "vocab_size": o.text.vocab,
      "width": o.text.width,
    },
    "vision_cfg": {
      "embed_unc": True,
      "head_width": o.vision.width // o.vision.heads,
      "image_size": o.image_size,
      "init_unc_bias": _whole(o.initial_log_var),
      "layers": o.vision.depth,
      "patch_size": o.vision.patch,
      "width": o.vision.width,
    },
  }
  for name, section in (("text_cfg", o.text), ("vision_cfg", o.vision)):
    if section.mlp_ratio != 4:
      found[name]["mlp_ratio"] = section.mlp_ratio
  if o.activation == "quick_gelu":
    found["quick_gelu"] = True
  return found


def guessed(state: State, heads: Mapping[str, int] = {}) -> Options:
  """Options of a model without a config, by the shapes of its arrays.

  Args:
    state: arrays by official name.
    heads: "vision_heads" and "text_heads"; those of published widths are known.

  Raises:
    ValueError: the widths are none of the published ones.
  """
  try:
    width, _, patch, _ = state["visual.conv1.weight"].shape
    text_width = state["text.cls_emb"].shape[0]
    vocab = state["text.token_embedding.weight"].shape[0]
    mlp = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    dim = state["visual.proj"].shape[1]
    patches = len(state["visual.positional_embedding"]) - 2
    words = len(state["text.positional_embedding"]) - 2
  except (KeyError, ValueError, IndexError) as error:
    raise ValueError(f"no ProLIP: {shown(error)}") from error
  vision_heads = heads.get("vision_heads", VISION_HEADS.get(width))
  text_heads = heads.get("text_heads", TEXT_HEADS.get(text_width))
  if vision_heads is None or text_heads is None:
    raise ValueError(
      f"widths of {width} and {text_width} are none of the published ones: "
      "give vision_heads and text_heads, or a config.json beside the weights"
    )
  clip = vocab == CLIP_VOCAB
  found: dict[str, Any] = {
    "embed_dim": dim,
    "quick_gelu": clip,
    "vision_cfg": {
      "image_size": round(patches**0.5) * patch,
      "layers": _depth(state, "visual"),
      "width": width,
      "head_width": width // vision_heads,
      "patch_size": patch,
      "embed_unc": True,
      "mlp_ratio": 4.0 if mlp == 4 * width else (mlp + 0.5) / width,
    },
    "text_cfg": {
      "context_length": words,
      "vocab_size": vocab,
      "width": text_width,
      "heads": text_heads,
      "layers": _depth(state, "text"),
      "norm_kwargs": {"eps": 1e-5 if clip else 1e-6},
      "embed_cls": True,
      "embed_unc": True,
      "no_causal_mask": True,
      "proj_bias": True,
      "pool_type": "last",
    },
  }
  text_mlp = state["text.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
  if text_mlp != 4 * text_width:
    found["text_cfg"]["mlp_ratio"] = (text_mlp + 0.5) / text_width
  return options(found)


def _depth(state: State, tower: str) -> int:
  prefix = f"{tower}.transformer.resblocks."
  layers = {name.split(".")[3] for name in state if name.startswith(prefix)}
  return len(layers)


class _Given:
  """Values of a config, taken one by one so that none is overlooked."""

  def __init__(self, where: str, values: Any):
    if not isinstance(values, Mapping):
      raise ValueError(
        f"{where} must be an object, found {shown(repr(values))}"
      )
    self._where, self._left = where, dict(values)

  def take(self, key: str, *default: Any) -> Any:
    if key not in self._left and not default:
      raise ValueError(f"{self._where} has no {key}")
    return self._left.pop(key, *default)

  def whole(self, key: str, *default: int) -> int:
    found = self.take(key, *default)
    if type(found) is not int or found < 1:
      raise ValueError(
        f"{self._where}.{key} must be a whole number from 1, found "
        f"{shown(repr(found))}"
      )
    return found

  def must(self, key: str, wanted: Any) -> None:
    found = self.take(key, wanted)
    if found != wanted:
      raise ValueError(
        f"{self._where}.{key} must be {wanted!r}, found {shown(repr(found))}"
      )

  def end(self) -> None:
    if self._left:
      raise ValueError(f"{self._where} has unknown values: {few(self._left)}")


def _whole(x: float) -> float | int:
  return int(x) if float(x).is_integer() else x


def few(names: Iterable[str]) -> str:
  """Lists the first names of many."""
  listed = sorted(map(shown, names))
  more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
  return (", ".join(listed[:SHOWN]) + more) or "nothing"
