"""HyperCLIP-JAX: hyperbolic vision-language models in JAX."""

from hyperclip_jax import geometry
from hyperclip_jax.hyperclip import HyperCLIP
from hyperclip_jax.pretrained import load
from hyperclip_jax.search import Index

__version__ = "0.1.0"
__all__ = ["HyperCLIP", "Index", "geometry", "load"]
