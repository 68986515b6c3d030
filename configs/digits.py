"""A Poincare ResNet-8 on scikit-learn's digits, on one CPU in minutes.

hyperclip digits --output data/digits
hyperclip train --config=configs/digits.py --workdir=DIR

After a colon stands another head, such as `:max_separation`.
"""

from hyperclip_jax.data.embedded.digits import NAMES
from hyperclip_jax.systems.classifier.recipe import poincare_resnet
from hyperclip_jax.training.config import Config, paper


def get_config(head: str = "linear") -> Config:
  config = poincare_resnet(paper("classifier"), 8, NAMES)
  config.batch_size = 128
  config.steps = 600
  config.model.update(image_size=8, head=head)
  config.data.update(
    shards="data/digits/train",
    held_out="data/digits/val",
    canvas=8,
    min_side=1,
    threads=1,
    prefetch=2,
  )
  config.data.distortions.flip = 0.0
  config.optim.learning_rate = 5e-3
  config.log_every = 50
  config.eval_every = 200
  config.checkpoint.update(every=200, keep=2)
  return config
