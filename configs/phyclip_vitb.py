"""PHyCLIP ViT-B/16 on GRIT: HyCoCLIP's recipe in a product of 64 hyperboloids.

python -m hyperclip_jax.main --config=configs/phyclip_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

The paper claims, beside its own HyCoCLIP on the same pairs, zero-shot: ImageNet
+0.5, Food-101 +4.6. Its code lets curvatures decay, by mistake:
`--config.model.decay_factors=True` does so, too.
"""

from hyperclip_jax.training.config import Config, paper


def get_config() -> Config:
  return paper("phyclip", "B")
