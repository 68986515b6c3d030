"""Describes a model for its summary and its model card."""

from typing import Any

import jax

HyperCLIP = Any  # which imports this module


def facts(model: HyperCLIP) -> dict[str, str]:
  """Lists what a model is, as a card shows it.

  Args:
    model: model to describe.

  Returns:
    Descriptions by subject.
  """
  found = {"system": model.system, "parameters": f"{model.size:,}"}
  for name in ("vision", "text"):
    if hasattr(model.options, name):
      found[f"{name} tower"] = str(getattr(model.options, name))
  return found | {
    "images": f"{model.image_size} x {model.image_size} pixels",
    "texts": f"at most {model.context} tokens",
    "embeddings": f"{model.width} dimensions, {model.space}",
    "logit scale": f"{model.logit_scale:.4g}",
    "dtype of the towers": getattr(model.options, "dtype", "float32"),
  }


def summary(model: HyperCLIP) -> str:
  """Describes a model in a few lines.

  Args:
    model: model to describe.

  Returns:
    Title, facts, parameters by part, and devices.
  """
  found = facts(model)
  found |= {
    f"parameters of {name}": f"{count:,}" for name, count in parts(model)
  }
  kinds = {str(device.device_kind) for device in model.devices}
  found["devices"] = f"{len(model.devices)} x {', '.join(sorted(kinds))}"
  found["fingerprint"] = model.fingerprint
  wide = max(map(len, found))
  rows = [f"  {name:{wide}}  {text}" for name, text in found.items()]
  return "\n".join([f"{model.title}:", *rows])


def parts(model: HyperCLIP) -> list[tuple[str, int]]:
  """Counts the parameters of the top-level parts; scalars count together."""
  found: dict[str, int] = {}
  for name, tree in model.params.items():
    size = sum(leaf.size for leaf in jax.tree.leaves(tree))
    part = name if isinstance(tree, dict) else "scalars"
    found[part] = found.get(part, 0) + size
  return [*found.items()]
