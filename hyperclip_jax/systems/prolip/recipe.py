"""The recipe of ProLIP on DataComp-1B."""

from typing import Any


def datacomp(config: Any, pairs: float = 12.8e9) -> Any:
  """Sets the recipe of the published B/16: batches of 16,384, 64 tokens.

  Args:
    config: ConfigDict of a run of the system, as of `training.config.paper`.
    pairs: pairs of an image and a text to see; the published runs have 12.8 and
      1.28 billion, in whole epochs of 616 steps.

  Returns:
    The config, whose shards are to be given.
  """
  config.batch_size = 16_384
  config.steps = 616 * round(1280 * pairs / 12.8e9)
  config.optim.learning_rate = 5e-4
  config.optim.warmup = 10_000
  config.optim.start = 5e-8  # of the first step: the peak over the warmup
  config.optim.b2 = 0.95
  config.optim.eps = 1e-6
  config.optim.weight_decay = 0.2
  config.data.shards = "data/datacomp/*.tar"
  config.data.crop_scale = (0.8, 1.0)
  config.data.text_buckets = (64,)
  config.data.distortions.update(
    jitter=0.8,
    brightness=0.32,
    contrast=0.32,
    saturation=0.32,
    hue=0.08,
    grayscale=0.2,
  )
  config.model.text.vocab = 32_100
  config.model.tokenizer = "hf-hub:timm/ViT-B-16-SigLIP"
  config.model.inclusion_form = "reference"
  config.model.bottleneck_form = "reference"
  return config
