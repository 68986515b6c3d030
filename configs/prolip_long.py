"""LongProLIP: a ProLIP ViT-B/16 fine-tuned on texts of 256 tokens.

python -m hyperclip_jax.main --config=configs/prolip_long.py --workdir=DIR \
  --config.init_from=RUN_OR_RELEASE_OF_A_PROLIP_B16 \
  --config.data.shards='/data/long_captions/*.tar' \
  --config.model.tokenizer=/models/siglip/tokenizer.json

The position table of texts is stretched from 64 to 256, all but its first 20
rows. The recipe of the published script (Chun and Yun, 2025, arXiv 2503.08048),
257 million pairs; the published models saw 24 and 128 million. Reported for 128
million: ImageNet 69.5, its shifts 58.1, VTAB 58.4, retrieval 59.6, Urban-1k
65.4 -> 91.3.
"""

from hyperclip_jax.systems.prolip.recipe import datacomp
from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  config = datacomp(paper("prolip"))
  config.steps = 31_488
  config.batch_size = 8_192
  config.optim.learning_rate = 1e-6
  config.optim.warmup = 200
  config.optim.start = 5e-9
  config.optim.weight_decay = 0.01
  config.model.text.context = 256
  config.model.inclusion_eps = -100.0
  config.model.inclusion_slope = 10.0
  config.data.text_buckets = (256,)
  return config
