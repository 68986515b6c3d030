"""ATMG ViT-B/16 on GRIT: contrast by angles, by HyCoCLIP's recipe.

python -m hyperclip_jax.main --config=configs/atmg_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

The paper itself trains on RedCaps, in 120,000 steps of 2,048 pairs.
"""

from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  return paper("atmg", "B")
