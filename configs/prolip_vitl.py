"""ProLIP ViT-L/16 at 256 pixels: the published sizes.

python -m hyperclip_jax.main --config=configs/prolip_vitl.py --workdir=DIR \
  --config.data.shards='/data/datacomp/*.tar'

The published model was fine-tuned from a public one for 1.28 billion pairs, by
a recipe that is not published; this is the recipe of the B/16 of that length.
"""

from hyperclip_jax.systems.prolip.recipe import datacomp
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  config = datacomp(paper("prolip"), 1.28e9)
  config.model.image_size = 256
  config.model.embed_dim = 1024
  config.model.vision.update(width=1024, depth=24, heads=16)
  config.model.text.update(width=1024, depth=24, heads=16)
  return config
