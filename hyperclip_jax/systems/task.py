"""Interface of a system: an encoder for inference, and a task to train.

A system is one module or package of `hyperclip_jax.systems`, found by its name
(`--config.system=NAME`). It offers three names, and no other module depends on
more than these:

  Options                    frozen dataclass (`sections.Section`) that checks
                             itself; `config.model` is its `asdict`
  encoder(options)           makes an `Encoder`
  task(options, view, mesh)  makes a `Task`; `view` is a `View` as `config.data`
                             describes it, `mesh` the devices

An optional TITLE is its name in reports. An optional adapted(options,
variables, wanted) makes variables for the options `wanted` of those of a
trained model, where a run starts from one (`--config.init_from`); STARTS_FROM
names other systems whose models it takes. An optional released(options,
variables) gives system, options and variables to release a model as.

A module of another package can be a system too; its dotted name must be allowed
(`--config.trust_system`).

A batch is named views, each a dict of arrays with B * count rows:

  leaf    shape                 from
  image   (rows, side, side, 3) pixels in [0, 1], augmented on the device
  text    (rows, length) int32  token ids, cut to a static length
  valid   (rows,) bool          only where a view has several rows an example
  NAME    (rows, ...)           the view's `extra` numbers

`data.feed.views` lists what the host fills; `views.augment` converts it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from hyperclip_jax.data.feed.tokenizer import AnyTokenizer
from hyperclip_jax.data.feed.views import Show, View
from hyperclip_jax.geometry.spaces import Space

# "params", and whatever else the system keeps: "batch_stats", "ema", ...
Variables = Mapping[str, PyTree]
Batch = Mapping[str, Mapping[str, Array]]
Metrics = dict[str, Float[Array, ""]]


class Encoder(NamedTuple):
  """Encoder of a system, as used by inference and training.

  Attributes:
    init: key -> variables.
    image: (variables, pixels (n, side, side, 3) in [0, 1]) -> rows (n, width)
      before `space.lift`.
    text: (variables, token ids (n, length)) -> rows (n, width), likewise.
    space: params -> space of the lifted rows.
    scale: params -> factor of nearness in the trained softmax.
    tokenizer: () -> tokenizer of its texts.
    context: largest number of tokens in a text.
    image_size: side of an image in pixels.
    width: width of a row.
    whole_context: whether texts must fill the context, such as where towers
      attend to padding; otherwise padding may be cut.
    classes: classes that it was trained to tell apart, as its texts name them;
      none for an encoder of any text. Rows of images are then their logits.
    parents: hierarchy of the classes, node -> its parents; none without one.
  """

  init: Callable[[PRNGKeyArray], Variables]
  image: Callable[[Variables, Array], Float[Array, "n width"]]
  text: Callable[[Variables, Array], Float[Array, "n width"]]
  space: Callable[[PyTree], Space]
  scale: Callable[[PyTree], Float[Array, ""]]
  tokenizer: Callable[[], AnyTokenizer]
  context: int
  image_size: int
  width: int
  whole_context: bool = False
  classes: tuple[str, ...] = ()
  parents: Mapping[str, tuple[str, ...]] = {}


def variable_shapes(encoder: Encoder) -> PyTree:
  """The variables as `jax.ShapeDtypeStruct`s; nothing is allocated."""
  return jax.eval_shape(encoder.init, jax.random.key(0))


class Rules(NamedTuple):
  """Rules of the trainer for the parameters of a system.

  Attributes:
    matrices: names of leaves to which weight decay applies.
    scalars: names of leaves that never decay.
    split: suffix of a parameter's path, such as "qkv/kernel" -> its axes on the
      mesh, for layers that devices share.
    bounds: metric -> bounds that `project` enforces.
    towers: kind -> top-level key of its tower, for locked towers and
      learning rates by layer.
  """

  matrices: tuple[str, ...] = ("kernel", "embedding")
  scalars: tuple[str, ...] = ()
  split: Mapping[str, PartitionSpec] = {}
  bounds: Mapping[str, tuple[float, float]] = {}
  towers: Mapping[str, str] = {"image": "vision", "text": "text"}


class Task(NamedTuple):
  """Everything that the trainer needs to train a system.

  Attributes:
    views: views of a batch, by name.
    draws: number of random numbers in [0, 1) that `show` gets for a record.
    show: (record, numbers (draws,)) -> 1 to `count` parts of each view, or
      `views.Shown` for a view with `extra`. It runs on the host, in threads. A
      record for which it raises is replaced by the next.
    init: key -> variables.
    embed: (variables, batch, key) -> outputs, a tree of arrays with rows along
      the first axis, and new variables. Rows are independent, since it may run
      in micro-batches.
    loss: (params, outputs, step) -> loss, metrics; over the global batch.
    project: variables after an update -> variables, for bounds and moving
      averages.
    rules: rules of the trainer for the parameters.
    micro_batches: whether `embed` may run in micro-batches; not if it keeps
      statistics of a batch.
  """

  views: Mapping[str, View]
  draws: int
  show: Show
  init: Callable[[PRNGKeyArray], Variables]
  embed: Callable[[Variables, Batch, PRNGKeyArray], tuple[PyTree, Variables]]
  loss: Callable[
    [PyTree, PyTree, Array], tuple[Float[Array, ""], dict[str, Any]]
  ]
  project: Callable[[Variables], Variables] = lambda variables: variables
  rules: Rules = Rules()
  micro_batches: bool = True
