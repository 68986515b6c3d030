"""ProLIP SO400M/14: the published sizes.

python -m hyperclip_jax.main --config=configs/prolip_so400m.py --workdir=DIR \
  --config.data.shards='/data/datacomp/*.tar'

The published model was fine-tuned from a public one for 1.28 billion pairs, by
a recipe that is not published; this is the recipe of the B/16 of that length.
The model card reports: ImageNet zero-shot 79.3, its shifts 69.0, VTAB 65.1,
retrieval 62.5, mean of DataComp's 38 data sets 66.6.
"""

from hyperclip_jax.systems.prolip.recipe import datacomp
from hyperclip_jax.training.config import Config, paper

SIZE = {"width": 1152, "depth": 27, "heads": 16, "mlp_ratio": 3.7362}


def get_config() -> Config:
  config = datacomp(paper("prolip"), 1.28e9)
  config.model.tokenizer = "hf-hub:timm/ViT-SO400M-14-SigLIP"
  config.model.embed_dim = 1152
  config.model.vision.update(**SIZE, patch=14)
  config.model.text.update(**SIZE)
  return config
