"""What a system of towers and losses offers: an encoder, and a task to train.

A system is one module or package of `hyperclip_jax.systems`, found by its name
(`--config.system=NAME`). It has three names, and no other module needs to know
more of it:

  Options                    frozen dataclass (`sections.Section`), which checks
                             itself; `config.model` is its `asdict`
  encoder(options)           makes an `Encoder`
  task(options, view, mesh)  makes a `Task`; `view` is a `View` as `config.data`
                             describes it, `mesh` the devices

It may have a TITLE, its name in reports. A module of another package can be a
system too; its dotted name must be allowed (`--config.trust_system`).

A batch is named views, each a dict of arrays with B * count rows:

  leaf    shape                 from
  image   (rows, side, side, 3) pixels in [0, 1], augmented on the device
  text    (rows, length) int32  token ids, cut to a static length
  valid   (rows,) bool          only where a view has several rows an example
  NAME    (rows, ...)           the view's `extra` numbers

`data.feed.views` says what the host fills; `views.augment` makes this of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.feed.views import Show, View
from hyperclip_jax.geometry.spaces import Space

# "params", and whatever else the system keeps: "batch_stats", "ema", ...
Variables = Mapping[str, PyTree]
Batch = Mapping[str, Mapping[str, Array]]
Metrics = dict[str, Float[Array, ""]]


class Encoder(NamedTuple):
  """The towers of a system, as inference uses them.

  Attributes:
    init: key -> variables.
    image: (variables, pixels (n, side, side, 3) in [0, 1]) -> rows (n, width)
      before `space.lift`.
    text: (variables, token ids (n, length)) -> rows likewise.
    space: params -> the space of the lifted rows.
    scale: params -> what multiplies nearness in the trained softmax.
    tokenizer: makes the tokenizer of its texts.
    context: most tokens of a text.
    image_size: side of its images in pixels.
    width: of a row.
  """

  init: Callable[[PRNGKeyArray], Variables]
  image: Callable[[Variables, Array], Float[Array, "n width"]]
  text: Callable[[Variables, Array], Float[Array, "n width"]]
  space: Callable[[PyTree], Space]
  scale: Callable[[PyTree], Float[Array, ""]]
  tokenizer: Callable[[], Tokenizer]
  context: int
  image_size: int
  width: int


class Rules(NamedTuple):
  """What else the trainer must know of a system's parameters.

  Attributes:
    matrices: names of leaves that weight decay applies to.
    scalars: names of leaves that never decay.
    split: end of a parameter's path, such as "qkv/kernel" -> its axes on the
      mesh, where devices share a layer.
    bounds: metric -> the least and greatest value that `project` leaves it.
  """

  matrices: tuple[str, ...] = ("kernel", "embedding")
  scalars: tuple[str, ...] = ()
  split: Mapping[str, PartitionSpec] = {}
  bounds: Mapping[str, tuple[float, float]] = {}


class Task(NamedTuple):
  """What the trainer trains.

  Attributes:
    views: what a batch shows of a record, by name.
    draws: random numbers in [0, 1) that `show` gets for a record.
    show: (record, numbers (draws,)) -> parts of each view, at most its `count`
      and at least one; `views.Shown` where a view has `extra`. On the host, in
      threads. A record that it raises for is replaced by the next.
    init: key -> variables.
    embed: (variables, batch, key) -> outputs, a tree of arrays with rows in
      front, and new variables. Row by row, as it may run in micro-batches.
    loss: (params, outputs, step) -> loss, metrics. Sees the global batch.
    project: variables after an update -> variables: bounds, moving averages.
    rules: see `Rules`.
    micro_batches: whether `embed` may run in several: not where it keeps
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
