"""Hyper3-CLIP ViT-B/16 on GRIT: five boxes and six queries of an image.

python -m hyperclip_jax.main --config=configs/hyper3_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

The paper claims COCO R@10 84.3 / 73.2 and a tree-induced error of 3.16. It also
clips gradients at 1, which this recipe does not.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(vit: str = "B") -> Config:
  config = paper("hyper3", vit)
  config.optim.decay_norm_and_bias = False
  config.data.parts_per_image = 5
  config.data.crop_scale = (0.8, 1.0)
  config.data.distortions.update(
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.2,
  )
  return config
