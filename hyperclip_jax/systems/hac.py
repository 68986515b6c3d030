"""HAC: HyCoCLIP's loss on a trained CLIP, by low-rank adapters (ICPR 2026).

A run starts from a trained model (`--config.init_from`), whose towers stay as
they are. It trains adapters of the last blocks, the projections, the final
norms and the scalars, which all start new by default. A model is released as
HyCoCLIP, with the adapters merged. The same adapters also tune CLIP or MERU by
their own losses.

The noise that the paper adds to embeddings of tokens is left out, and dropout
of adapters drops a feature for a whole batch (`nn.lora.dropped`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from hyperclip_jax.data.feed.views import View
from hyperclip_jax.nn import lora
from hyperclip_jax.sections import Section, choice, number, switch
from hyperclip_jax.systems import clip, hycoclip, meru
from hyperclip_jax.systems.task import Encoder, Task, Variables

TITLE = "HAC"
PLAIN = {"clip": clip, "meru": meru, "hycoclip": hycoclip}
STARTS_FROM = ("clip", "meru", "hycoclip")
TOWERS = ("vision", "text")
PROJECTIONS = ("visual_proj", "textual_proj")

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LoRA(Section):
  """Adapters; see `nn.lora`.

  Attributes:
    rank: rank of an adapter.
    alpha: numerator of their factor.
    stabilised: whether it is over the square root of the rank.
    dropout: share of an adapter's input features that are dropped.
    matrices: matrices of a block with adapters: "qkv" (one each for queries,
      keys and values), "out", "fc1", "fc2".
    image_blocks: number of image blocks with adapters, from the last.
    text_blocks: number of text blocks, likewise.
  """

  rank: int = number(128, most=65_536)
  alpha: float = number(128.0)
  stabilised: bool = switch(True)
  dropout: float = number(0.1, least=0, most=0.9, training=True)
  matrices: tuple[str, ...] = ("qkv", "out")
  image_blocks: int = number(4, least=0)
  text_blocks: int = number(8, least=0)

  def problems(self):
    names = set(self.matrices)
    if not self.matrices or len(names) < len(self.matrices):
      yield f"matrices must name some, each once, found {self.matrices}"
    elif not names <= lora.MATRICES.keys():
      yield (
        f"matrices must be of {', '.join(lora.MATRICES)}, found {self.matrices}"
      )

  @property
  def factor(self) -> float:
    """Factor of an adapter's product."""
    return lora.factor(self.rank, self.alpha, self.stabilised)


@dataclasses.dataclass(frozen=True)
class Options(hycoclip.Options):
  """Options of HyCoCLIP, and of the adapters.

  Attributes:
    loss: system whose space and loss are used, and as which it is released.
    lora: options of the adapters.
    fresh: whether projections, final norms and scalars start new, rather than
      from those of the model that a run starts from.
  """

  loss: str = choice("hycoclip", ("clip", "meru", "hycoclip"))
  lora: LoRA = LoRA()
  fresh: bool = switch(True, training=True)


def encoder(o: Options) -> Encoder:
  """Makes the encoder of `o.loss`, of variables in two parts.

  "params" has what is trained, with the adapters as "lora", and "frozen" the
  rest.
  """
  plain = PLAIN[o.loss].encoder(o)

  def init(key: PRNGKeyArray) -> Variables:
    own, key = jax.random.split(key)
    flat = _flat(plain.init(key)["params"])
    blocks = {tower: _blocks(flat, tower) for tower in TOWERS}
    keys = jax.random.split(own, len(TOWERS))
    counts = o.lora.image_blocks, o.lora.text_blocks
    adapters = {
      tower: lora.init(key, blocks[tower], o.lora.matrices, count, o.lora.rank)
      for tower, key, count in zip(TOWERS, keys, counts, strict=True)
    }
    params = {k: leaf for k, leaf in flat.items() if _trained(k)}
    frozen = {k: leaf for k, leaf in flat.items() if not _trained(k)}
    return {
      "params": {**_tree(params), "lora": adapters},
      "frozen": _tree(frozen),
    }

  return plain._replace(
    init=init,
    image=lambda variables, x: plain.image(whole(o, variables), x),
    text=lambda variables, x: plain.text(whole(o, variables), x),
  )


def whole(
  o: Options, variables: Variables, key: PRNGKeyArray | None = None
) -> dict[str, Any]:
  """Merges what is frozen, trained and adapted to plain variables.

  Args:
    o: options.
    variables: "params" and "frozen".
    key: random key of dropout in training; None drops nothing.

  Returns:
    {"params": parameters of the system `o.loss`}.
  """
  params = dict(variables["params"])
  adapters = params.pop("lora")
  flat = _flat(variables["frozen"]) | _flat(params)
  for place, tower in enumerate(TOWERS):
    own = adapters[tower]
    if key is not None and o.lora.dropout:
      own = lora.dropped(jax.random.fold_in(key, place), own, o.lora.dropout)
    merged = lora.merged(_blocks(flat, tower), own, o.lora.factor)
    flat |= _flat({tower: {"transformer": {"blocks": merged}}})
  return {"params": _tree(flat)}


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task of `o.loss`, which trains some of the parameters.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  made = PLAIN[o.loss].task(o, view, mesh)

  def embed(variables, batch, key):
    outputs, _ = made.embed(whole(o, variables, key), batch, key)
    return outputs, variables

  return made._replace(init=encoder(o).init, embed=embed)


def adapted(o: Any, variables: Variables, wanted: Options) -> Variables:
  """Splits the variables of a model that a run starts from.

  Args:
    o: options of the model.
    variables: its variables: of a system in STARTS_FROM, or of HAC.
    wanted: options of the run.

  Returns:
    What the run takes over; the rest starts new.
  """
  del o
  if "frozen" in variables:
    return variables
  flat = _flat(variables["params"])
  found = {"frozen": _tree({k: v for k, v in flat.items() if not _trained(k)})}
  if not wanted.fresh:
    found["params"] = _tree({k: v for k, v in flat.items() if _trained(k)})
  return found


def released(o: Options, variables: Variables) -> tuple[str, Any, Variables]:
  """Merges the adapters of a trained model, which is a plain one then.

  Args:
    o: options of the model.
    variables: its variables.

  Returns:
    System, options and variables of the release.
  """
  cls: Any = PLAIN[o.loss].Options
  names = [field.name for field in dataclasses.fields(cls)]
  plain = cls(**{name: getattr(o, name) for name in names})
  return o.loss, plain, jax.device_get(whole(o, variables))


def _trained(path: Path) -> bool:
  """Whether a parameter is a scalar, or of a projection or final norm."""
  return (
    len(path) == 1
    or path[0] in PROJECTIONS
    or path[1:3] == ("transformer", "norm")
  )


def _blocks(flat: Mapping[Path, Any], tower: str) -> Any:
  """Selects the parameters of a tower's blocks."""
  start = (tower, "transformer", "blocks")
  return _tree({k[3:]: leaf for k, leaf in flat.items() if k[:3] == start})


def _flat(tree: Any) -> dict[Path, Any]:
  found: Any = traverse_util.flatten_dict(dict(tree))
  return found


def _tree(flat: Mapping[Path, Any]) -> dict[str, Any]:
  found: Any = traverse_util.unflatten_dict(dict(flat))
  return found
