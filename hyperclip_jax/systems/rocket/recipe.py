"""Recipes of the CLIP-Rocket paper, by data set."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperclip_jax.systems.rocket.options import TOWERS, VARIANTS, WEAK_ONLY

BATCH, EPOCHS = 4_096, 32
WORDNET = "/usr/share/wordnet"  # of Debian's wordnet-base


class Data(NamedTuple):
  """What the paper changes from one data set to another.

  Attributes:
    examples: records of the data set.
    layers: depth of the text tower.
    dropout: rate of the text dropout; of two, the second is that of variants
      with a loss beside the contrast.
    decay: weight decay.
    reduction: of the contrastive loss.
    clean: whether captions are cleaned.
    rate: peak of the learning rate.
    stop_words: probability to drop stop words, with a ResNet.
    fields: fields of a record's JSON with captions; () for its own caption.
    draw: whether each view draws a caption.
    strong_size: side of strong views, with a ResNet; 0 for that of weak ones.
  """

  examples: int
  layers: int = 12
  dropout: tuple[float, float] = (0.0, 0.0)
  decay: float = 0.1
  reduction: str = "sum"
  clean: bool = False
  rate: float = 3e-3
  stop_words: float = 0.8
  fields: tuple[str, ...] = ()
  draw: str = "single"
  strong_size: int = 0


DATA: Mapping[str, Data] = {
  "cc3m": Data(
    3_300_000, layers=6, dropout=(0.2, 0.2), decay=0.5, reduction="avg"
  ),
  "cc12m": Data(12_400_000, dropout=(0.05, 0.1)),
  "yfcc15m": Data(
    15_000_000,
    clean=True,
    stop_words=0.9,
    fields=("title", "description"),
  ),
  "29m": Data(
    29_000_000,
    clean=True,
    rate=2e-3,
    fields=("title", "description"),
    draw="multi",
    strong_size=192,
  ),
}


def recipe(config: Any, data: str, what: str = "clip_rocket,r50") -> Any:
  """Sets the recipe of CLIP-Rocket (Fini et al., 2023) for a data set.

  Args:
    config: ConfigDict of a run of the system, as of `training.config.paper`.
    data: data set, a key of `DATA`.
    what: variant, or variant and image tower, such as "barlip,vits16"; what
      follows the colon in `--config=FILE:WHAT`.

  Returns:
    The config, whose shards and WordNet are to be given.

  Raises:
    ValueError: there is no such variant or tower.
  """
  variant, _, tower = what.partition(",")
  tower = tower or "r50"
  if variant not in VARIANTS or tower not in TOWERS:
    raise ValueError(
      f"want VARIANT or VARIANT,TOWER of {', '.join(VARIANTS)} and "
      f"{', '.join(TOWERS)}, found {what!r}"
    )
  own, resnet = DATA[data], tower == "r50"
  extra = variant not in ("clip", "clip_rocket", "swalip_v1")
  config.batch_size = BATCH
  config.steps = EPOCHS * (own.examples // BATCH)
  config.optim.update(
    learning_rate=own.rate,
    warmup=own.examples // BATCH,
    start=1e-6,
    end=1e-5,
    weight_decay=own.decay,
  )
  model = config.model
  model.variant = variant
  model.vision.update(TOWERS[tower])
  model.text.update(depth=own.layers, dropout=own.dropout[extra])
  model.smoothing = 0.0 if variant == "swalip" else 0.1
  model.reduction = own.reduction
  model.separate_head = extra and not resnet
  model.captions.update(fields=own.fields, draw=own.draw)
  model.strong.image_size = own.strong_size if resnet else 0
  model.edits.update(
    clean=own.clean,
    stop_words=own.stop_words if resnet else 0.8,
    synonym=0.4,
    wordnet=WORDNET,
  )
  if variant in WEAK_ONLY:  # weak texts have no synonyms
    model.edits.update(synonym=0.0, wordnet="")
  return config
