"""Recipes of papers beside that of HyCoCLIP (`config.paper`)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperclip_jax.systems.rocket.options import TOWERS, VARIANTS, WEAK_ONLY
from hyperclip_jax.training.config import Config, paper

BATCH, EPOCHS = 4_096, 32
WORDNET = "/usr/share/wordnet"  # of Debian's wordnet-base


class RocketData(NamedTuple):
  """What the CLIP-Rocket paper changes from one data set to another.

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


ROCKET: Mapping[str, RocketData] = {
  "cc3m": RocketData(
    3_300_000, layers=6, dropout=(0.2, 0.2), decay=0.5, reduction="avg"
  ),
  "cc12m": RocketData(12_400_000, dropout=(0.05, 0.1)),
  "yfcc15m": RocketData(
    15_000_000,
    clean=True,
    stop_words=0.9,
    fields=("title", "description"),
  ),
  "29m": RocketData(
    29_000_000,
    clean=True,
    rate=2e-3,
    fields=("title", "description"),
    draw="multi",
    strong_size=192,
  ),
}


def rocket(data: str, what: str = "clip_rocket,r50") -> Config:
  """Makes the recipe of CLIP-Rocket (Fini et al., 2023) for a data set.

  Args:
    data: data set, a key of `ROCKET`.
    what: variant, or variant and image tower, such as "barlip,vits16"; what
      follows the colon in `--config=FILE:WHAT`.

  Returns:
    Config of a run, whose shards and WordNet are to be given.

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
  recipe, resnet = ROCKET[data], tower == "r50"
  extra = variant not in ("clip", "clip_rocket", "swalip_v1")
  config = paper("rocket")
  config.batch_size = BATCH
  config.steps = EPOCHS * (recipe.examples // BATCH)
  config.optim.update(
    learning_rate=recipe.rate,
    warmup=recipe.examples // BATCH,
    start=1e-6,
    end=1e-5,
    weight_decay=recipe.decay,
  )
  model = config.model
  model.variant = variant
  model.vision.update(TOWERS[tower])
  model.text.update(depth=recipe.layers, dropout=recipe.dropout[extra])
  model.smoothing = 0.0 if variant == "swalip" else 0.1
  model.reduction = recipe.reduction
  model.separate_head = extra and not resnet
  model.captions.update(fields=recipe.fields, draw=recipe.draw)
  model.strong.image_size = recipe.strong_size if resnet else 0
  model.edits.update(
    clean=recipe.clean,
    stop_words=recipe.stop_words if resnet else 0.8,
    synonym=0.4,
    wordnet=WORDNET,
  )
  if variant in WEAK_ONLY:  # weak texts have no synonyms
    model.edits.update(synonym=0.0, wordnet="")
  return config


CIFAR10 = (
  *("airplane", "automobile", "bird", "cat", "deer"),
  *("dog", "frog", "horse", "ship", "truck"),
)


def poincare_resnet(
  depth: int,
  classes: Sequence[str] = CIFAR10,
  parents: Sequence[tuple[str, str]] = (),
  examples: int = 50_000,
) -> Config:
  """Makes the CIFAR recipe of Poincare ResNet (van Spengler et al., 2023).

  Args:
    depth: 20 or 32.
    classes: names of the classes.
    parents: pairs of a node and its parent, of a hierarchy of the classes.
    examples: records of the data set.

  Returns:
    Config of a run, whose shards are to be given.
  """
  config = paper("classifier")
  config.batch_size = 128
  config.steps = 100 * (examples // config.batch_size)
  config.optim.update(learning_rate=1e-3, warmup=0, b2=0.999, weight_decay=1e-4)
  config.model.update(
    classes=tuple(classes),
    parents=tuple(parents),
    image_size=32,
    backbone="poincare_resnet",
    dtype="float32",
    pixel_mean=(0.5, 0.5, 0.5),
    pixel_std=(0.5, 0.5, 0.5),
  )
  config.model.resnet.update(depth=depth, widths=(8, 16, 32))
  config.data.update(canvas=32, crop_scale=(0.75, 1.0))
  config.data.distortions.flip = 0.5
  config.eval_every = 5 * (examples // config.batch_size)
  return config
