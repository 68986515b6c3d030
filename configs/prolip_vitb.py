"""ProLIP ViT-B/16 on DataComp-1B: the published recipe.

python -m hyperclip_jax.main --config=configs/prolip_vitb.py --workdir=DIR \
  --config.data.shards='/data/datacomp/*.tar' \
  --config.data.held_out='/data/held_out/*.tar' \
  --config.model.tokenizer=/models/siglip/tokenizer.json

12.8 billion pairs in batches of 16,384, as of 32 GPUs; `:1.28e9` sees a tenth.
The tokenizer is that of timm/ViT-B-16-SigLIP, which is fetched from the hub
unless a file is given.

The model card reports, for 12.8 billion pairs: ImageNet zero-shot 74.6, its
shifts 63.0, VTAB 63.7, retrieval 59.6, mean of DataComp's 38 data sets 63.3.
`model.regulariser_scale` documents a difference from the official code, which
repeats the regularisers on each of its 32 GPUs; see docs/prolip.md.
"""

from hyperclip_jax.systems.prolip.recipe import datacomp
from hyperclip_jax.training.config import Config, paper


def get_config(pairs: str = "12.8e9") -> Config:
  return datacomp(paper("prolip"), float(pairs))
