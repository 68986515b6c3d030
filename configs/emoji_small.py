"""A small HyCoCLIP on scenes of emoji, in a quarter of an hour on two cores.

hyperclip emoji --packages npm --output data/emoji
hyperclip train --config=configs/emoji_small.py --workdir=DIR
hyperclip evals --model=DIR --data=data --tasks=emoji --output=DIR/evals

After a colon stands another system: `:clip` or `:meru`.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(system: str = "hycoclip") -> Config:
  config = paper(system, "S")
  config.steps = 2_800
  config.batch_size = 128
  if "cones" in config.model:
    config.model.entail_ramp = 1_200  # as shapes_tiny.py
    if "curv_range" in config.model:
      # Left to itself the curvature falls to its bound, 0.1.
      config.model.curv_range = (1.0, 1.0)
  elif "entail_weight" in config.model:
    config.model.entail_weight = 0.02

  if "strong" in config.model:
    config.model.strong.crop_scale = (0.5, 1.0)  # the emoji are small
    config.model.projector_hidden = 128
    config.model.barlow.update(hidden=128, out=256)
    config.model.siam.update(hidden=128, out=32)
    config.model.swap.update(hidden=128, out=32, prototypes=128)

  # Under 6 MB of parameters: the first 3,582 merges of CLIP's tokenizer.
  config.model.vision.update(width=128, depth=3, heads=4)
  if "stem" in config.model.vision:
    # One patch is the whole picture. Oriented gradients are alike in all
    # vendors' drawings; what pixels teach is a vendor's own style.
    config.model.image_size = 64
    config.model.vision.update(patch=64, stem="gradients")
  else:
    config.model.image_size = 48
    config.model.vision.patch = 24
  if "init_std" in config.model.vision:
    config.model.vision.init_std = 0.1
  config.model.text.update(width=64, depth=1, heads=2, vocab=4_096, context=24)
  if "mask_id" in config.model.text:
    config.model.text.mask_id = 4_000  # a rare token
  config.model.embed_dim = 64
  config.model.dtype = "float32"

  config.optim.learning_rate = 2e-3
  config.optim.warmup = 200
  config.optim.weight_decay = 0.1

  config.data.shards = "data/emoji/train"
  config.data.held_out = "data/emoji/val"
  config.data.labelled = "data/emoji"
  config.data.canvas = 64
  config.data.min_side = 8
  config.data.crop_scale = (0.8, 1.0)
  # Styles of vendors differ in colours, outlines and shading.
  config.data.distortions.update(
    flip=0.5,
    jitter=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
  )
  config.data.text_buckets = (16, 24)
  config.data.threads = 2
  config.data.prefetch = 2
  config.log_every = 20
  config.eval_every = 700
  config.checkpoint.update(every=700, keep=2)
  return config
