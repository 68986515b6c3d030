"""Options of a run: sections that check themselves."""

import dataclasses
from collections.abc import Iterator

from hyperclip_jax.data.feed.distortions import Options as Distortions
from hyperclip_jax.data.records.shards import split
from hyperclip_jax.files import shown
from hyperclip_jax.sections import Section, choice, number, path

LEAST_SHARE = 1e-5  # weight of a source: once in `data.feed.order.PERIOD`


@dataclasses.dataclass(frozen=True)
class Optim(Section):
  """AdamW, within bounds in which finite gradients give finite parameters.

  See `step.update`: the norm of a finite gradient is below 2e19, and no step of
  AdamW is longer than 2e31.
  """

  learning_rate: float = number(5e-4, most=1)
  warmup: int = number(4_000, least=0)
  start: float = number(0.0, least=0)  # rate of the first step, and the one
  end: float = number(0.0, least=0)  # after the last; see `adamw.schedule*`
  b1: float = number(0.9, least=0, most=0.999999)
  b2: float = number(0.98, least=0, most=0.999999)
  eps: float = number(1e-8, least=1e-12)
  weight_decay: float = number(0.2, least=0)
  decay_norm_and_bias: bool = False  # True as in the official code
  lock_tower: str = choice(
    "", ("", "image", "text")
  )  # tower to keep as it started
  layer_decay: float = number(1.0, most=1)  # of the rate, from the last block

  def problems(self):
    for name in ("start", "end"):
      if getattr(self, name) > self.learning_rate:
        yield (
          f"{name} must be at most the learning_rate {self.learning_rate}, "
          f"found {getattr(self, name)}"
        )
    if self.learning_rate * self.weight_decay > 1:
      yield (
        "weight_decay must be at most 1 / config.optim.learning_rate, "
        f"found {self.weight_decay}"
      )


@dataclasses.dataclass(frozen=True)
class Data(Section):
  """Training and held-out records, and how they are read."""

  # Folders, globs or braces such as "{000..012}.tar", joined by commas.
  shards: str = path("data/grit/*.tar", several=True)
  held_out: str = path(several=True)  # records for evaluation, likewise
  labelled: str = path()  # folder with objects/ and hierarchy.json to classify
  canvas: int = number(256)  # largest side of an image on the device in pixels
  weights: tuple[float, ...] = ()  # of each pattern; () for one set
  index_folder: str = path()  # for index files; "" for beside the shards
  on_bad_shard: str = choice("fail", ("fail", "skip"))  # skip: leave it out
  max_bad: float = number(0.01, least=0)  # of records; beyond it a run ends
  upright: bool = False  # True: boxes refer to images turned as EXIF says
  min_side: int = number(32)  # pixels; boxes with a smaller side are dropped
  parts_per_image: int = number(1)  # boxes of an example at each step
  crop_scale: tuple[float, ...] = (0.5, 1.0)  # area of the random crop
  distortions: Distortions = dataclasses.field(default_factory=Distortions)
  white_border: bool = False  # True: pad to a square as in the official shards
  text_buckets: tuple[int, ...] = (8, 16, 24, 32, 77)  # lengths in tokens
  threads: int = number(16)
  prefetch: int = number(16)  # batches
  slow_seconds: float = number(60.0)  # of waiting for a batch before a warning

  def problems(self):
    scale, buckets = self.crop_scale, self.text_buckets
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
      yield (
        "crop_scale must be two fractions in ascending order, "
        f"found {shown(scale)}"
      )
    if (
      not buckets
      or not all(0 < length < 2**31 for length in buckets)
      or list(buckets) != sorted(set(buckets))
    ):
      yield f"text_buckets must be ascending whole numbers, found {buckets}"
    if not self.shards:
      yield "shards is empty: give a glob of training shards"
    yield from self._weights(split(self.shards))

  def _weights(self, globs: list[str]) -> Iterator[str]:
    weights = self.weights
    if not weights:
      return
    if len(weights) != len(globs) or not all(0 < w <= 1e12 for w in weights):
      yield (
        f"weights must be () or positive, one for each of the {len(globs)} "
        f"globs of data.shards, found {shown(weights)}"
      )
    elif min(weights) < LEAST_SHARE * sum(weights):
      yield (
        "weights must each be at least 1 / 100,000 of their sum, found "
        f"{weights}: raise small weights, or leave their sources out"
      )


@dataclasses.dataclass(frozen=True)
class Shapes(Section):
  """The embedded data set, which is drawn at the first start of a run.

  `train` and `val` are numbers of scenes, `objects` of images of one object.
  """

  folder: str = path("data/shapes")
  train: int = number(16_384, least=0)
  val: int = number(512, least=0)
  objects: int = number(960, least=0)
  image_size: int = number(64)
  seed: int = number(0, least=0)


@dataclasses.dataclass(frozen=True)
class Mesh(Section):
  """How devices share the work."""

  model: int = number(1)  # devices that share each layer; the rest split data
  fsdp: bool = False  # True: split parameters and moments over the rest, too


@dataclasses.dataclass(frozen=True)
class Profile(Section):
  """Steps to profile."""

  first: int = number(0, least=0)  # 0: none
  steps: int = number(5)


@dataclasses.dataclass(frozen=True)
class Wandb(Section):
  """Weights & Biases, besides `metrics.jsonl` and TensorBoard."""

  project: str = ""  # "": not used
  entity: str = ""  # team or user; "" for one's default
  mode: str = choice("online", ("online", "offline"))


@dataclasses.dataclass(frozen=True)
class Evals(Section):
  """Tasks of the evaluation suite that are run while training."""

  tasks: str = ""  # names, as of --tasks of evals; "": none
  data: str = path()  # folder that holds a folder of each data set
  every: int = number(0, least=0)  # steps; 0: after the last one only

  def problems(self):
    if self.tasks and not self.data:
      yield (
        f"data must be the folder of the data sets of config.evals.tasks="
        f"{shown(self.tasks)}, found ''"
      )


@dataclasses.dataclass(frozen=True)
class Checkpoint(Section):
  """When to save, and what may change when a run is resumed."""

  every: int = number(5_000)  # steps
  keep: int = number(3)  # newest checkpoints, at least 2
  keep_every: int = number(0, least=0)  # also multiples of this step; 0: none
  allow_batch_size_change: bool = False  # continues after the examples seen
  allow_steps_change: bool = False  # follows the new schedule from here on
  allow_data_change: bool = False  # continues on other shards

  def problems(self):
    if self.keep == 1:
      yield (
        "keep must be at least 2, found 1: a run falls back to the previous "
        "checkpoint if the newest is damaged"
      )


@dataclasses.dataclass(frozen=True)
class Training(Section):
  """Config of a run except `model`, whose options belong to the system.

  The defaults are the paper's recipe: GRIT, batches of 768, 500,000 steps.
  """

  seed: int = number(0, least=0, most=2**32 - 1)
  steps: int = number(500_000)
  batch_size: int = number(768)
  micro_batches: int = number(1)  # to embed a batch in; the loss sees all
  system: str = "hycoclip"  # module of `hyperclip_jax.systems`
  trust_system: bool = False  # True: or "package.module" of another package
  init_from: str = path()  # a trained model, as of `load`; "": at random
  optim: Optim = Optim()
  data: Data = Data()
  mesh: Mesh = Mesh()
  profile: Profile = Profile()
  max_bad_steps: int = number(10, least=0)  # skipped in a row before it ends
  stall_seconds: float = number(1_800.0, least=0)  # without a step; 0: never
  log_every: int = number(100)
  histograms_every: int = number(0, least=0)  # steps; of gradients; 0: never
  eval_every: int = number(25_000, least=0)  # of the held-out records
  evals: Evals = Evals()
  wandb: Wandb = Wandb()
  checkpoint: Checkpoint = Checkpoint()

  def problems(self):
    if self.optim.warmup > self.steps:
      yield (
        f"optim.warmup must be at most the {self.steps} steps, "
        f"found {self.optim.warmup}"
      )
