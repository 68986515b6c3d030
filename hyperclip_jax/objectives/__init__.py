"""Objectives: pure functions (embeddings, scalars) -> (loss, terms)."""

from hyperclip_jax.objectives.clip import clip
from hyperclip_jax.objectives.embeddings import Embeddings
from hyperclip_jax.objectives.hycoclip import hycoclip
from hyperclip_jax.objectives.meru import meru

OBJECTIVES = {"clip": clip, "meru": meru, "hycoclip": hycoclip}
USES_BOXES = frozenset({"hycoclip"})

__all__ = ["OBJECTIVES", "USES_BOXES", "Embeddings"]
