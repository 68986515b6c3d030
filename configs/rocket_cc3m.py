"""CLIP-Rocket on CC3M (3.3 million pairs): the paper's recipe.

python -m hyperclip_jax.main --config=configs/rocket_cc3m.py --workdir=DIR \
  --config.data.shards='/data/cc3m/*.tar' \
  --config.model.edits.wordnet=/usr/share/wordnet

After a colon stand a variant and an image tower: `:clip` is the baseline,
`:barlip,vits16` BarLIP with ViT-S/16. ResNet-50 is the default. The steps are
those of 3.3 million pairs in batches of 4,096; a data set that has lost
some takes `--config.steps` and `--config.optim.warmup` of its own.
"""

from hyperclip_jax.systems.rocket.recipe import recipe
from hyperclip_jax.training.config import Config, paper


def get_config(what: str = "clip_rocket,r50") -> Config:
  return recipe(paper("rocket"), "cc3m", what)
