"""CLIP-Rocket and its variants (Fini et al., 2023, arXiv 2305.08675).

Weak and strong views of images and texts, each kind with a projector of its
own; only the projectors differ, the towers are shared.
"""

from hyperclip_jax.systems.rocket import official
from hyperclip_jax.systems.rocket.options import Options
from hyperclip_jax.systems.rocket.towers import encoder
from hyperclip_jax.systems.rocket.train import task

TITLE = "CLIP-Rocket"

__all__ = ["TITLE", "Options", "encoder", "official", "task"]
