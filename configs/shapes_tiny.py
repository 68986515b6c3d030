"""A small HyCoCLIP on the embedded shapes, on two CPU cores in minutes.

python -m hyperclip_jax.main --config=configs/shapes_tiny.py --workdir=DIR

After a colon stands another system: `:clip`, `:meru` or `:rocket`.
"""

from hyperclip_jax.training.config import Config, Shapes, add_shapes, paper


def get_config(system: str = "hycoclip") -> Config:
  config = paper(system, "S")
  config.steps = 800
  config.batch_size = 128
  # From the first step on, the paper's weight of entailment pulls texts to the
  # root long before they are separated. 500,000 steps recover from that; 800 do
  # not. Wider cones hold pairs farther out (benchmarks/RESULTS.md, "Cones").
  if "cones" in config.model:
    config.model.update(entail_ramp=600, min_radius=0.3)
  elif "entail_weight" in config.model:
    config.model.entail_weight = 0.02

  if "strong" in config.model:
    # Captions name colours and places, which strong views must not change.
    config.model.strong.crop_scale = (0.6, 1.0)
    config.model.strong.distortions.update(flip=0.0, hue=0.0, grayscale=0.0)
    config.model.projector_hidden = 128
    config.model.barlow.update(hidden=128, out=256)
    config.model.siam.update(hidden=128, out=32)
    config.model.swap.update(hidden=128, out=32, prototypes=128)

  config.model.image_size = 48
  config.model.vision.update(width=128, depth=3, heads=4, patch=24)
  if "init_std" in config.model.vision:
    config.model.vision.init_std = 0.1
  config.model.text.update(width=64, depth=2, heads=2, context=24)
  config.model.embed_dim = 64
  config.model.dtype = "float32"

  config.optim.learning_rate = 1e-3
  config.optim.warmup = 60
  config.optim.weight_decay = 0.1

  config.data.canvas = 64
  config.data.min_side = 8
  config.data.crop_scale = (0.9, 1.0)  # crops must keep the named objects
  config.data.text_buckets = (16, 24)
  config.data.threads = 2
  config.data.prefetch = 2
  add_shapes(config, Shapes(folder="data/shapes", train=16_384, val=512))
  config.log_every = 20
  config.eval_every = 200
  config.checkpoint.update(every=200, keep=2)
  return config
