"""Objectives: pure functions (embeddings, scalars) -> (loss, terms)."""

from hyperclip_jax.systems.clip import clip
from hyperclip_jax.systems.embeddings import Embeddings
from hyperclip_jax.systems.hycoclip import hycoclip
from hyperclip_jax.systems.meru import meru

OBJECTIVES = {"clip": clip, "meru": meru, "hycoclip": hycoclip}
USES_BOXES = frozenset({"hycoclip"})

__all__ = ["OBJECTIVES", "USES_BOXES", "Embeddings"]
