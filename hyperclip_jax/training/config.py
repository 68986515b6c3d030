"""The configuration of a run: sections that check themselves, and a recipe."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from hyperclip_jax import files, sections, systems
from hyperclip_jax.checkpoints import release
from hyperclip_jax.data.feed.distortions import Options as Distortions
from hyperclip_jax.data.records.shards import split
from hyperclip_jax.files import shown
from hyperclip_jax.sections import Section, SectionError, choice, number, path
from hyperclip_jax.systems.sizes import VIT
from hyperclip_jax.training import config_tree

# A checker sees a union of every leaf's type behind each attribute otherwise.
if TYPE_CHECKING:
  Config = Any
else:
  Config = ConfigDict

FILE = "config.json"
LEAST_SHARE = 1e-5  # of a source; once in `data.feed.order.PERIOD`


@dataclasses.dataclass(frozen=True)
class Optim(Section):
  """AdamW; within these bounds finite gradients make finite parameters.

  See `step.update`: gradients of a finite norm are below 2e19, and no step of
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
  decay_norm_and_bias: bool = False  # True is what the official code does

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
  """The records, and how they are read."""

  # A folder, glob or braces such as "{000..012}.tar"; commas join them.
  shards: str = path("data/grit/*.tar", several=True)
  held_out: str = path(several=True)  # likewise, of records to evaluate
  canvas: int = number(256)  # images are stored on the device up to this size
  weights: tuple[float, ...] = ()  # of each pattern; () takes them for one set
  index_folder: str = path()  # of the shards' indices; "" is beside them
  on_bad_shard: str = choice("fail", ("fail", "skip"))  # skip leaves them out
  max_bad: float = number(0.01, least=0)  # share of bad records that ends a run
  upright: bool = False  # True: images turned as EXIF says, boxes refer to it
  min_side: int = number(32)  # pixels; boxes with a smaller side are dropped
  parts_per_image: int = number(1)  # boxes an example at each step
  crop_scale: tuple[float, ...] = (0.5, 1.0)  # of the random resized crop
  distortions: Distortions = dataclasses.field(default_factory=Distortions)
  white_border: bool = False  # True pads to a square as the official shards
  text_buckets: tuple[int, ...] = (8, 16, 24, 32, 77)  # lengths of texts
  threads: int = number(16)
  prefetch: int = number(16)  # batches
  slow_seconds: float = number(60.0)  # of waiting for a batch, then a warning

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
        "weights must each be 1 / 100,000 of their sum at least, found "
        f"{weights}: give the rare more, or leave them out"
      )


@dataclasses.dataclass(frozen=True)
class Shapes(Section):
  """The embedded data set: made in its folder, at the first start of a run.

  Train and val are numbers of scenes; objects, of pictures of one thing.
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

  model: int = number(1)  # devices that share a layer; the rest share data
  fsdp: bool = False  # True splits parameters and moments over the rest, too


@dataclasses.dataclass(frozen=True)
class Profile(Section):
  """Steps to trace."""

  first: int = number(0, least=0)  # 0: none
  steps: int = number(5)


@dataclasses.dataclass(frozen=True)
class Checkpoint(Section):
  """When to save, and what a continuation may change."""

  every: int = number(5_000)  # steps
  keep: int = number(3)  # the newest, two at least
  keep_every: int = number(0, least=0)  # and those whose step it divides
  allow_batch_size_change: bool = False  # goes on from the examples seen
  allow_steps_change: bool = False  # goes on with the new length's schedule
  allow_data_change: bool = False  # goes on though the shards changed

  def problems(self):
    if self.keep == 1:
      yield (
        "keep must be at least 2, found 1: a run goes back to the step before "
        "where the newest was damaged"
      )


@dataclasses.dataclass(frozen=True)
class Training(Section):
  """All of a run's config but `model`, whose options are its system's.

  The paper's recipe by default: GRIT, batches of 768, 500,000 steps.
  """

  seed: int = number(0, least=0, most=2**32 - 1)
  steps: int = number(500_000)
  batch_size: int = number(768)
  micro_batches: int = number(1)  # of a batch's embedding; the loss sees all
  system: str = "hycoclip"  # module of `hyperclip_jax.systems`
  trust_system: bool = False  # True: it may be "package.module" of another
  start: str = path()  # a trained model, as of `load`; "" is random parameters
  optim: Optim = Optim()
  data: Data = Data()
  mesh: Mesh = Mesh()
  profile: Profile = Profile()
  max_bad_steps: int = number(10, least=0)  # skipped in a row, then it ends
  stall_seconds: float = number(1_800.0, least=0)  # without a step; 0: never
  log_every: int = number(100)
  eval_every: int = number(25_000, least=0)
  checkpoint: Checkpoint = Checkpoint()

  def problems(self):
    if self.optim.warmup > self.steps:
      yield (
        f"optim.warmup must be at most the {self.steps} steps, "
        f"found {self.optim.warmup}"
      )


def paper(system: str = "hycoclip", vit: str = "B") -> Config:
  """The HyCoCLIP paper's recipe for a system.

  Args:
    system: module of `hyperclip_jax.systems`; what follows the colon in
      `--config=FILE:SYSTEM`.
    vit: "S", "B" or "L".

  Raises:
    ValueError: there is no such system.
  """
  options = dataclasses.asdict(systems.find(system).Options())
  if "vision" in options:
    options["vision"] |= VIT[vit]
  training = dataclasses.asdict(Training(system=system))
  return ConfigDict(training | {"model": options}, type_safe=True)


def override(config: Config, overrides: Iterable[config_tree.Override]) -> None:
  """Sets values of a config by flags, `system` before all others.

  Another system takes what its options share with the one before.

  Args:
    config: ConfigDict to change.
    overrides: dotted names and values.

  Raises:
    ValueError: names every override that fits no value of the config.
  """
  overrides = list(overrides)
  first = [one for one in overrides if one[0] in ("system", "trust_system")]
  config_tree.override(config, first)
  if first:
    try:
      kept = _common(config.model.to_dict(), _default_options(config))
    except ValueError as error:
      raise ValueError(f"--config.{error}") from error
    with config.unlocked():
      config.model = ConfigDict(kept, type_safe=True)
  config_tree.override(config, [one for one in overrides if one not in first])
  shapes = config.get("shapes")
  if isinstance(shapes, ConfigDict) and not shapes.get("folder", "given"):
    _leave_shapes(config)


def fill(config: Config) -> None:
  """Gives values that are absent their defaults.

  Args:
    config: ConfigDict to change; unknown and bad values stay for `validate`.
  """
  try:
    model = _default_options(config)
  except (AttributeError, TypeError, ValueError):
    model = {}
  defaults = dataclasses.asdict(Training()) | {"model": model}
  if "shapes" in config:
    defaults["shapes"] = dataclasses.asdict(Shapes())
  _fill(config, defaults)


def _fill(config: Config, defaults: Mapping[str, Any]) -> None:
  for name, default in defaults.items():
    if name not in config:
      config[name] = default
    elif isinstance(default, dict) and isinstance(config[name], ConfigDict):
      _fill(config[name], default)


def _leave_shapes(config: Config) -> None:
  """Undoes `add_shapes`, where `--config.shapes.folder=` asks for it."""
  del config["shapes"]
  for name, followed in (("shards", "/train"), ("held_out", "/val")):
    if config.data[name] == followed:
      config.data[name] = ""


def validate(config: Config, devices: int) -> None:
  """Refuses what cannot train, before any work.

  Args:
    config: the tree after overrides.
    devices: number of devices that will share a batch.

  Raises:
    ValueError: names every bad value, and what is wanted.
  """
  problems = list(_problems(config, devices))
  if problems:
    lines = (f"config.{problem}" for problem in problems)
    raise ValueError("bad config:\n  " + "\n  ".join(lines))


def options(config: Config) -> Any:
  """The options of a config's system, checked.

  Raises:
    ValueError: there is no such system, or an option is bad.
  """
  system = systems.find(config.system, bool(config.get("trust_system")))
  return sections.build(system.Options, config.model)


def read(workdir: str | pathlib.Path) -> Config:
  """The config that a run was started with, and defaults for what came later.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: the config.json is none of a run, or has values such as none may
      have.
  """
  where = files.expanded(workdir) / FILE
  if not where.exists():
    raise FileNotFoundError(
      f"{where}: no such file; give the --workdir of a training run"
    )
  found = release.read_json(where)
  if "objective" in found:
    found = _upgraded(found)
  if not {"system", "model", "optim"} <= found.keys():
    raise ValueError(
      f"{where}: not of a training run; found the keys "
      f"{', '.join(map(shown, sorted(found)[:8]))}"
    )
  try:
    config = _complete(found)
    validate(config, devices=config.mesh.model)
  except (
    AttributeError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
  ) as error:
    reason = "\n".join(shown(line) for line in str(error).split("\n"))
    raise ValueError(f"{where}: not a run's config: {reason}") from error
  return config


def _complete(found: Mapping[str, Any]) -> Config:
  """A config with defaults for what a tree of values does not have."""
  rest = {k: v for k, v in found.items() if k not in ("model", "shapes")}
  config = dataclasses.asdict(sections.build(Training, rest))
  config["model"] = dataclasses.asdict(options(ConfigDict(dict(found))))
  made: Config = ConfigDict(config, type_safe=True)
  if "shapes" in found:
    shapes = sections.build(Shapes, found["shapes"])
    if made.data.shards == f"{shapes.folder}/train":
      add_shapes(made, shapes)
    else:
      made.shapes = ConfigDict(dataclasses.asdict(shapes))
  return made


def add_shapes(config: Config, shapes: Shapes) -> None:
  """Trains on the embedded data set, which is made where it is missing.

  `data.shards` and `data.held_out` follow `shapes.folder`.

  Args:
    config: ConfigDict to change.
    shapes: what the data set holds.
  """
  config.shapes = ConfigDict(dataclasses.asdict(shapes), type_safe=True)
  folder = config.shapes.get_ref("folder")
  config.data.shards = folder + "/train"
  config.data.held_out = folder + "/val"


def _upgraded(found: Mapping[str, Any]) -> dict[str, Any]:
  """The config of a run from before systems had names."""
  objective = found["objective"]
  system, model = release.upgraded(found)
  rest = {k: v for k, v in found.items() if k not in ("objective", "shapes")}
  model["contrast"] = objective.get("contrast", "auto")
  for name in ("remat", "unroll"):
    if name in found["model"]:
      model[name] = found["model"][name]
  rest |= {"system": system, "model": model}
  shapes = found.get("shapes") or {}
  if not shapes.get("folder"):
    return rest
  rest["data"] = rest["data"] | {
    "shards": f"{shapes['folder']}/train",
    "held_out": f"{shapes['folder']}/val",
  }
  return rest | {"shapes": shapes}


def _default_options(config: Config) -> dict[str, Any]:
  system = systems.find(config.system, config.trust_system)
  return dataclasses.asdict(system.Options())


def _common(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
  """The values of `new`, replaced by those of `old` that have its types."""

  def kept(name: str) -> Any:
    if isinstance(new[name], dict) and isinstance(old.get(name), Mapping):
      return _common(old[name], new[name])
    same = type(old.get(name)) is type(new[name])
    return old[name] if same else new[name]

  return {name: kept(name) for name in new}


def _problems(config: Config, devices: int) -> Iterator[str]:
  tree = {name: config[name] for name in config}
  model, shapes = tree.pop("model", {}), tree.pop("shapes", None)
  trained, found = _built(Training, tree)
  yield from found
  if shapes is not None:
    yield from (f"shapes.{line}" for line in _built(Shapes, shapes)[1])
  try:
    trust = tree.get("trust_system") is True
    system = systems.find(str(config.get("system")), trust)
  except ValueError as error:
    yield str(error)
    return
  made, found = _built(system.Options, model)
  yield from (f"model.{line}" for line in found)
  if trained:
    yield from _split(trained, devices)
  if trained and made:
    yield from _texts(trained, system.encoder(made).context)


def _built(cls: Any, tree: Any) -> tuple[Any, list[str]]:
  """A section, or what is wrong with its values."""
  try:
    return sections.build(cls, tree), []
  except SectionError as error:
    return None, error.problems


def _split(config: Training, devices: int) -> Iterator[str]:
  """How a batch is split over devices."""
  model, size = config.mesh.model, config.batch_size
  share = devices // model
  if devices % model:
    yield f"mesh.model must divide the {devices} devices, found {model}"
  elif size % share:
    yield (
      f"batch_size must be a multiple of the {share} devices that share it, "
      f"found {size}"
    )
  elif size % (share * config.micro_batches):
    yield (
      f"micro_batches must divide the {size // share} examples on a device, "
      f"found {config.micro_batches}"
    )


def _texts(config: Training, context: int) -> Iterator[str]:
  buckets = config.data.text_buckets
  if buckets[-1] != context:
    yield (
      "data.text_buckets must be whole numbers that ascend to the context of "
      f"{context}, found {shown(buckets)}"
    )
