"""The configuration tree, its presets and its checks."""

import dataclasses
import inspect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from hyperclip_jax.data.feed.distortions import Options
from hyperclip_jax.data.records.shards import split
from hyperclip_jax.files import shown
from hyperclip_jax.nn.transformer import REMAT
from hyperclip_jax.systems.objectives import OBJECTIVES
from hyperclip_jax.training.config_tree import (
  leaves,
  name_problems,
  type_problems,
)

# A checker sees a union of every leaf's type behind each attribute otherwise.
if TYPE_CHECKING:
  Config = Any
else:
  Config = ConfigDict

DTYPES = ("float32", "bfloat16")
ON_BAD_SHARD = ("fail", "skip")
CONTRASTS = ("auto", "naive", "tiled")
CHOICES = {
  "data.on_bad_shard": ON_BAD_SHARD,
  "model.dtype": DTYPES,
  "model.remat": REMAT,
  "objective.contrast": CONTRASTS,
  "objective.name": tuple(OBJECTIVES),
}
LEAST_SHARE = 1e-5  # of a source; once in `data.order.PERIOD`
# Sizes beyond these would keep JAX busy for hours before it runs out of memory.
MOST_OF_MODEL, MOST_LAYERS = 65_536, 512
# Sections whose values are all arguments of one function.
PASSED_ON = ("data.distortions.", "model.text.", "model.vision.")

# Vision transformers as the HyCoCLIP paper trains them; S has 12 heads.
VIT = {
  "S": {"width": 384, "depth": 12, "heads": 12, "patch": 16},
  "B": {"width": 768, "depth": 12, "heads": 12, "patch": 16},
  "L": {"width": 1024, "depth": 24, "heads": 16, "patch": 16},
}


# Every other number in the tree must be more than zero.
MAY_BE_ZERO = {
  "max_bad_steps",
  "stall_seconds",
  "checkpoint.keep_every",
  "data.max_bad",
  "eval_every",
  "objective.args.entail_weight",
  "optim.b1",
  "optim.b2",
  "optim.warmup",
  "optim.weight_decay",
  "profile.first",
  "seed",
  "shapes.objects",
  "shapes.seed",
  "shapes.train",
  "shapes.val",
  *(f"data.distortions.{f.name}" for f in dataclasses.fields(Options)),
}


def paper(objective: str = "hycoclip", vit: str = "B") -> Config:
  """The paper's recipe: GRIT, batch 768, 500,000 steps.

  Args:
    objective: "hycoclip", "meru" or "clip"; what follows the colon in
      `--config=FILE:objective`.
    vit: "S", "B" or "L".
  """
  return ConfigDict(
    {
      "seed": 0,
      "steps": 500_000,
      "batch_size": 768,
      "micro_batches": 1,  # that a batch is embedded in; the loss sees it whole
      "objective": {
        "name": objective,
        "args": _objective_args(objective),
        # Of the logits: "naive" keeps all, in memory quadratic in the batch,
        # "tiled" computes them twice, in linear; "auto" goes by their number.
        "contrast": "auto",
      },
      "model": {
        "image_size": 224,
        "vision": VIT[vit] | {"init_std": 0.02},
        "text": {
          "width": 512,
          "depth": 12,
          "heads": 8,
          "vocab": 49408,
          "context": 77,
        },
        "embed_dim": 512,
        "dtype": "bfloat16",  # of the towers; the rest is float32
        "remat": "none",  # or "dots", "full": what blocks compute again
        "unroll": False,  # True: less memory; see docs/performance.md
      },
      "optim": {
        "learning_rate": 5e-4,
        "warmup": 4_000,
        "b1": 0.9,
        "b2": 0.98,
        "eps": 1e-8,
        "weight_decay": 0.2,
        "decay_norm_and_bias": False,  # True is what the official code does
      },
      "data": {
        # A folder, glob or braces such as "{000..012}.tar"; commas join them.
        "shards": "data/grit/*.tar",
        "held_out": "",  # likewise, of records to evaluate that train nothing
        "canvas": 256,  # images are stored on the device up to this size
        "weights": (),  # of each pattern; () takes them for one set
        "index_folder": "",  # of the shards' indices; "" is beside them
        "on_bad_shard": "fail",  # or "skip": leave damaged tars out
        "max_bad": 0.01,  # share of bad records that a run puts up with
        "upright": False,  # True: images turned as EXIF says, boxes refer to it
        "min_side": 32,  # pixels; boxes with a smaller side are dropped
        "parts_per_image": 1,  # boxes an example at each step
        "crop_scale": (0.5, 1.0),  # of the random resized crop
        "distortions": dataclasses.asdict(Options()),  # none by default
        "white_border": False,  # True pads to a square as the official shards
        "text_buckets": (8, 16, 24, 32, 77),  # static lengths texts are cut to
        "threads": 16,
        "prefetch": 16,  # batches
        "slow_seconds": 60.0,  # of waiting for one batch that are told
      },
      # The embedded data set: where to make it, and how much of it.
      "shapes": {
        "folder": "",
        "train": 0,
        "val": 0,
        "objects": 0,
        "image_size": 64,
        "seed": 0,
      },
      "mesh": {
        "model": 1,  # devices that share a layer; the rest share data
        "fsdp": False,  # True splits parameters and moments over the rest, too
      },
      "profile": {"first": 0, "steps": 5},  # steps to trace; first 0: none
      "max_bad_steps": 10,  # updates skipped in a row that are put up with
      "stall_seconds": 1_800.0,  # without a step that end a run; 0 for never
      "log_every": 100,
      "eval_every": 25_000,
      "checkpoint": {
        "every": 5_000,  # steps
        "keep": 3,  # so many of the newest, two at least
        "keep_every": 0,  # and those whose step it divides; 0 for none
        "allow_batch_size_change": False,  # goes on from the examples seen
        "allow_steps_change": False,  # goes on with the new length's schedule
        "allow_data_change": False,  # and so does a run whose shards changed
      },
    },
    type_safe=True,
  )


def _objective_args(objective: str) -> dict[str, float]:
  """The objective's own numbers with their defaults.

  An unknown objective has none, and `validate` refuses it.
  """
  if objective not in OBJECTIVES:
    return {}
  parameters = inspect.signature(OBJECTIVES[objective]).parameters.values()
  return {p.name: p.default for p in parameters if p.annotation is float}


def validate(config: Config, devices: int) -> None:
  """Refuses what cannot train, before any work.

  Args:
    config: the tree after overrides.
    devices: devices that will share a batch.

  Raises:
    ValueError: names every bad value, and what is wanted.
  """
  problems = list(_problems(config, devices))
  if problems:
    raise ValueError("bad config:\n  " + "\n  ".join(problems))


def reference(config: Config) -> Config:
  """A recipe of the config's objective: the names and types of its values."""
  objective = config.get("objective")
  name = objective.get("name") if isinstance(objective, ConfigDict) else None
  return paper(name if name in list(OBJECTIVES) else "clip")


def _problems(config: Config, devices: int) -> Iterator[str]:
  like = reference(config)
  args = config.objective.args if "objective" in config else {}
  if like.objective.name == config.objective.name and (
    set(args) != set(like.objective.args)
  ):
    yield (
      f"config.objective.args do not fit {config.objective.name!r}: choose the "
      f"objective by --config=FILE:{config.objective.name}"
    )
    return
  wrong = list(type_problems(config, like))
  for name in PASSED_ON:
    wrong += name_problems(config, like, name)
  if wrong:  # The checks below rely on names and types.
    yield from wrong
    return
  yield from _ranges(config)
  yield from _choices(config)
  yield from _split(config, devices)
  yield from _towers(config)
  yield from _optimizer(config)
  yield from _data(config)


def _ranges(config: Config) -> Iterator[str]:
  for name, value in leaves(config):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      continue
    most = MOST_OF_MODEL if name.startswith("model.") else 2**63 - 1
    if name.endswith(".depth"):
      most = MOST_LAYERS
    positive = value > 0 or (value == 0 and name in MAY_BE_ZERO)
    if not (positive and value < math.inf):
      least = "at least 0" if name in MAY_BE_ZERO else "more than 0"
      yield f"config.{name} must be finite and {least}, found {value}"
    elif isinstance(value, int) and value > most:
      yield f"config.{name} must be at most {most}, found {shown(value)}"


def _choices(config: Config) -> Iterator[str]:
  for name, choices in CHOICES.items():
    section, key = name.split(".")
    if config[section][key] not in choices:
      yield (
        f"config.{name} must be one of {', '.join(choices)}, "
        f"found {config[section][key]!r}"
      )


def _split(config: Config, devices: int) -> Iterator[str]:
  """How a batch is split over devices."""
  model, size = config.mesh.model, config.batch_size
  if model <= 0:
    return  # `_ranges` names it.
  share = devices // model
  if devices % model:
    yield (
      f"config.mesh.model must divide the {devices} devices, found {model}"
    )
  elif size % share:
    yield (
      f"config.batch_size must be a multiple of the {share} devices that "
      f"share it, found {size}"
    )
  elif config.micro_batches > 0 and size % (share * config.micro_batches):
    yield (
      f"config.micro_batches must divide the {size // share} examples on a "
      f"device, found {config.micro_batches}"
    )


def _towers(config: Config) -> Iterator[str]:
  model = config.model
  if model.unroll and model.remat != "none":
    yield (
      f"config.model.unroll must be False with config.model.remat="
      f"{model.remat!r}, found True: XLA would merge what is computed twice"
    )
  if model.vision.patch > 0 and model.image_size % model.vision.patch:
    yield (
      f"config.model.image_size must be a multiple of the patch "
      f"{model.vision.patch}, found {model.image_size}"
    )
  for name in ("vision", "text"):
    tower = model[name]
    if tower.heads > 0 and tower.width % tower.heads:
      yield (
        f"config.model.{name}.heads must divide the width {tower.width}, "
        f"found {tower.heads}"
      )


def _optimizer(config: Config) -> Iterator[str]:
  """Bounds within which finite gradients make finite parameters.

  See `state.update`: gradients of a finite norm are below 2e19, and no step of
  AdamW is longer than 2e31.
  """
  optim = config.optim
  if optim.warmup > config.steps:
    yield (
      f"config.optim.warmup must be at most the {config.steps} steps, "
      f"found {optim.warmup}"
    )
  for name in ("b1", "b2"):
    if optim[name] > 0.999999:
      yield f"config.optim.{name} must be at most 0.999999, found {optim[name]}"
  if optim.eps < 1e-12:
    yield f"config.optim.eps must be at least 1e-12, found {optim.eps}"
  if optim.learning_rate > 1:
    yield (
      "config.optim.learning_rate must be at most 1, "
      f"found {optim.learning_rate}"
    )
  if optim.learning_rate * optim.weight_decay > 1:
    yield (
      "config.optim.weight_decay must be at most 1 / config.optim."
      f"learning_rate, found {optim.weight_decay}"
    )
  if config.seed >= 2**32:
    yield f"config.seed must be below 2**32, found {config.seed}"
  if config.checkpoint.keep == 1:
    yield (
      "config.checkpoint.keep must be at least 2, found 1: a run goes back to "
      "the step before where the newest was damaged"
    )


def _data(config: Config) -> Iterator[str]:
  data, context = config.data, config.model.text.context
  scale, buckets = tuple(data.crop_scale), tuple(data.text_buckets)
  if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
    yield (
      "config.data.crop_scale must be two fractions in ascending order, "
      f"found {shown(scale)}"
    )
  if (
    not all(isinstance(length, int) and length > 0 for length in buckets)
    or list(buckets) != sorted(set(buckets))
    or buckets[-1:] != (context,)
  ):
    yield (
      "config.data.text_buckets must be whole numbers that ascend to the "
      f"context of {context}, found {shown(buckets)}"
    )
  try:
    Options(**data.distortions)
  except ValueError as error:
    yield f"config.data.distortions.{error}"
  yield from _weights(tuple(data.weights), split(data.shards))
  if not (data.shards or config.shapes.folder):
    yield "config.data.shards is empty: give a glob of training shards"


def _weights(weights: tuple[float, ...], globs: list[str]) -> Iterator[str]:
  if not weights:
    return
  if len(weights) != len(globs) or not all(0 < w <= 1e12 for w in weights):
    yield (
      f"config.data.weights must be () or positive, one for each of the "
      f"{len(globs)} globs of data.shards, found {shown(weights)}"
    )
  elif min(weights) < LEAST_SHARE * sum(weights):
    yield (
      "config.data.weights must each be 1 / 100,000 of their sum at least, "
      f"found {weights}: give the rare more, or leave them out"
    )
