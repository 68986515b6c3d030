"""Config of a run: the paper's recipe, overrides, checks, and reading."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from hyperclip_jax import files, sections, systems
from hyperclip_jax.checkpoints import release
from hyperclip_jax.files import shown
from hyperclip_jax.sections import SectionError
from hyperclip_jax.systems.sizes import VIT
from hyperclip_jax.training import config_tree
from hyperclip_jax.training.options import Shapes, Training

# Any, because a type checker would infer the union of all leaf types.
if TYPE_CHECKING:
  Config = Any
else:
  Config = ConfigDict

FILE = "config.json"


def paper(
  system: str = "hycoclip", vit: str = "B", trust_system: bool = False
) -> Config:
  """Returns the HyCoCLIP paper's recipe for a system.

  Args:
    system: module of `hyperclip_jax.systems`, given on the command line after
      the colon of `--config=FILE:SYSTEM`.
    vit: "S", "B" or "L".
    trust_system: whether the system may be a module of another package.

  Returns:
    ConfigDict, which may be changed until it is validated.

  Raises:
    ValueError: there is no such system.
  """
  module = systems.find(system, trust_system)
  options = dataclasses.asdict(module.Options())
  if "vision" in options:
    options["vision"] |= VIT[vit]
  training = dataclasses.asdict(
    Training(system=system, trust_system=trust_system)
  )
  context = module.encoder(module.Options()).context
  training["data"]["text_buckets"] = _ending_at(
    context, training["data"]["text_buckets"]
  )
  return ConfigDict(training | {"model": options}, type_safe=True)


def _ending_at(context: int, buckets: Iterable[int]) -> tuple[int, ...]:
  return (*(n for n in buckets if n < context), context)


def override(config: Config, overrides: Iterable[config_tree.Override]) -> None:
  """Sets values of a config from flags, `system` before all others.

  The options of a new system keep the values of those it shares with the old
  one, as far as they are valid, and `data.text_buckets` end at its context.

  Args:
    config: ConfigDict to change.
    overrides: dotted names and values.

  Raises:
    ValueError: an override fits no value of the config; the message lists all
      such.
  """
  overrides = list(overrides)
  first = [one for one in overrides if one[0] in ("system", "trust_system")]
  config_tree.override(config, first)
  if first:
    try:
      system = systems.find(config.system, config.trust_system)
    except ValueError as error:
      raise ValueError(f"--config.{error}") from error
    try:
      kept = _kept(config.model.to_dict(), system.Options)
    except SectionError as error:
      raise ValueError(f"Options of {config.system}: {error}") from error
    buckets, context = config.data.text_buckets, system.encoder(kept).context
    with config.unlocked():
      config.model = ConfigDict(dataclasses.asdict(kept), type_safe=True)
      config.data.text_buckets = _ending_at(context, buckets)
  config_tree.override(config, [one for one in overrides if one not in first])
  shapes = config.get("shapes")
  if isinstance(shapes, ConfigDict) and not shapes.get("folder", "given"):
    _leave_shapes(config)


def fill(config: Config) -> None:
  """Adds missing values to a config, with their defaults.

  Args:
    config: ConfigDict to change; unknown and bad values are left to `validate`.
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
  """Undoes `add_shapes` if `--config.shapes.folder=` is empty."""
  del config["shapes"]
  for name, followed in (("shards", "/train"), ("held_out", "/val")):
    if config.data[name] == followed:
      config.data[name] = ""  # as is `labelled`


def validate(config: Config, devices: int) -> None:
  """Checks a config before any work.

  Args:
    config: tree after overrides.
    devices: number of devices that will share a batch.

  Raises:
    ValueError: a value is bad; the message lists all such, and what is wanted.
  """
  problems = list(_problems(config, devices))
  if problems:
    lines = (f"config.{problem}" for problem in problems)
    raise ValueError("bad config:\n  " + "\n  ".join(lines))


def options(config: Config) -> Any:
  """Builds the options of a config's system, and checks them.

  Raises:
    ValueError: there is no such system, or an option is bad.
  """
  system = systems.find(config.system, bool(config.get("trust_system")))
  return sections.build(system.Options, config.model)


def read(workdir: str | pathlib.Path, trust_system: bool = False) -> Config:
  """Reads the config of a run, with defaults for options added since.

  Args:
    workdir: folder of the run.
    trust_system: whether to import a system of another package if the run is of
      one; its config alone allows nothing, since it may come from others.

  Returns:
    ConfigDict.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: config.json does not belong to a run, or has bad values.
  """
  where = files.expanded(workdir) / FILE
  if not where.exists():
    raise FileNotFoundError(
      f"{where}: no such file; give the --workdir of a training run"
    )
  found = release.read_json(where)
  found["trust_system"] = trust_system and found.get("trust_system", False)
  if "objective" in found:
    found = _upgraded(found)
  if not {"system", "model", "optim"} <= found.keys():
    raise ValueError(
      f"{where}: not the config of a training run; found the keys "
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
  """Converts a tree of values to a config, with defaults for missing ones."""
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
      made.data.labelled = made.data.labelled or shapes.folder
  return made


def add_shapes(config: Config, shapes: Shapes) -> None:
  """Sets a config to train on the embedded data set, drawn if missing.

  `data.shards`, `data.held_out` and `data.labelled` follow `shapes.folder`.

  Args:
    config: ConfigDict to change.
    shapes: content of the data set.
  """
  config.shapes = ConfigDict(dataclasses.asdict(shapes), type_safe=True)
  folder = config.shapes.get_ref("folder")
  config.data.shards = folder + "/train"
  config.data.held_out = folder + "/val"
  config.data.labelled = folder


def _upgraded(found: Mapping[str, Any]) -> dict[str, Any]:
  """Converts the config of a run from before systems had names."""
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


def _kept(old: Mapping[str, Any], cls: Any) -> Any:
  """Options with the values of another system's that are valid for them."""
  made = cls()
  values = dataclasses.asdict(made)
  for name, value in _common(old, values).items():
    with contextlib.suppress(SectionError):
      made = sections.build(cls, values | {name: value})
      values[name] = value
  return made


def _common(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
  """Replaces values of `new` by those of `old` that have the same types."""

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
  """Constructs a section, or lists the problems of its values."""
  try:
    return sections.build(cls, tree), []
  except SectionError as error:
    return None, error.problems


def _split(config: Training, devices: int) -> Iterator[str]:
  """Checks how a batch is split over devices."""
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
