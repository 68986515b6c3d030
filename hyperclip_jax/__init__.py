"""HyperCLIP-JAX: hyperbolic vision-language models in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from hyperclip_jax import geometry
  from hyperclip_jax.inference.model import HyperCLIP
  from hyperclip_jax.inference.pretrained import list_pretrained, load
  from hyperclip_jax.inference.search import Index
  from hyperclip_jax.inference.web import fetch_image

__version__ = "0.1.0"
__all__ = [
  "HyperCLIP",
  "Index",
  "fetch_image",
  "geometry",
  "list_pretrained",
  "load",
]

# Imported on first use: a command that is stopped while JAX is still being
# imported must already listen to signals.
_HOMES = {
  "HyperCLIP": "inference.model",
  "Index": "inference.search",
  "fetch_image": "inference.web",
  "list_pretrained": "inference.pretrained",
  "load": "inference.pretrained",
}


def __getattr__(name: str) -> Any:
  if name == "geometry":
    return importlib.import_module("hyperclip_jax.geometry")
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  home = importlib.import_module(f"hyperclip_jax.{_HOMES[name]}")
  return getattr(home, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
