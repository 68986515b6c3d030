"""ProLIP ViT-H/14: the published sizes, with CLIP's tokenizer.

python -m hyperclip_jax.main --config=configs/prolip_vith.py --workdir=DIR \
  --config.data.shards='/data/datacomp/*.tar'

The published model was fine-tuned from a public one for 1.28 billion pairs, by
a recipe that is not published; this is the recipe of the B/16 of that length.
"""

from hyperclip_jax.systems.prolip.recipe import datacomp
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  config = datacomp(paper("prolip"), 1.28e9)
  config.model.tokenizer = ""
  config.model.activation = "quick_gelu"
  config.model.embed_dim = 1024
  config.model.vision.update(width=1280, depth=32, heads=16, patch=14)
  config.model.text.update(
    width=1024,
    depth=24,
    heads=16,
    vocab=49_408,
    context=77,
    norm_eps=1e-5,
  )
  config.data.text_buckets = (77,)
  return config
