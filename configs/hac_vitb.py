"""HAC ViT-B/16 on GRIT: a trained CLIP becomes hyperbolic in 30,000 steps.

python -m hyperclip_jax.main --config=configs/hac_vitb.py --workdir=DIR \
  --config.init_from=CLIP \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

CLIP is a run of `configs/grit_vitb.py:clip`, its release, or the published
`clip_vit_b.pth` of HyCoCLIP's authors. Adapters of rank 128 are trained in the
last four image and eight text blocks, and projections, final norms and scalars
start new; `save_pretrained` merges the adapters. The paper claims 1.9 points
more than CLIP on reasoning of VQA. Its noise on token embeddings is left out.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(vit: str = "B") -> Config:
  config = paper("hac", vit)
  config.steps = 30_000
  config.optim.learning_rate = 2.5e-4
  return config
