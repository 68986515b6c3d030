"""UNCHA ViT-B/16 on GRIT, with up to five boxes of an image.

python -m hyperclip_jax.main --config=configs/uncha_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

The paper claims, zero-shot, ImageNet 48.8, CIFAR-100 63.2; tree-induced error
2.94. At 1.9 boxes an image, GRIT's mean, a step has three times HyCoCLIP's
crops. `:S` is the model of the small image tower.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(vit: str = "B") -> Config:
  config = paper("uncha", vit)
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
