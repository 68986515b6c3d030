"""HyCoCLIP ViT-L/16 on GRIT: the paper's recipe with the large image tower.

python -m hyperclip_jax.main --config=configs/grit_vitl.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar'

The paper has no numbers at this size. `:meru` and `:clip` train the baselines.
"""

from hyperclip_jax.config import Config, paper


def get_config(objective: str = "hycoclip") -> Config:
  return paper(objective, "L")
