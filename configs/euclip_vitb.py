"""EuCLIP ViT-B/16 on GRIT: the Euclidean baseline, by HyCoCLIP's recipe.

python -m hyperclip_jax.main --config=configs/euclip_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'
"""

from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  return paper("euclip", "B")
