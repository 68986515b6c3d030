"""The training state and one update of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from hyperclip_jax.systems.dual_encoder import DualEncoder, bound_scalars
from hyperclip_jax.systems.objectives import Embeddings
from hyperclip_jax.training import gradient_cache

Objective = Callable[
  [Embeddings, dict[str, Array]], tuple[Array, dict[str, Array]]
]


@flax.struct.dataclass
class TrainState:
  """All that an update changes; also a tree of its shapes or shardings.

  Attributes:
    step: () int32, updates so far.
    params: of the model.
    opt_state: of the optimiser.
  """

  step: PyTree
  params: PyTree
  opt_state: PyTree


class Inputs(NamedTuple):
  """One augmented batch: pixels in [0, 1] and token ids.

  Box fields are as in `Embeddings`, and None for objectives that use whole
  images and captions only.
  """

  image: Float[Array, "b h w 3"]
  text: Int[Array, "b l"]
  box_image: Float[Array, "p h w 3"] | None = None
  box_text: Int[Array, "p k"] | None = None
  distinct: Bool[Array, " p"] | None = None
  valid: Bool[Array, " p"] | None = None


def init(
  model: DualEncoder,
  optimizer: optax.GradientTransformation,
  key: PRNGKeyArray,
  image_size: int,
) -> TrainState:
  """A fresh state at step 0."""
  images = jnp.zeros((1, image_size, image_size, 3))
  tokens = jnp.zeros((1, 1), jnp.int32)
  params = model.init(key, images, tokens)["params"]
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def embed(model: DualEncoder, params: PyTree, inputs: Inputs) -> Embeddings:
  """Lifted embeddings of a batch; each tower runs once where shapes allow."""

  def encode(method, x) -> Any:
    tangents = model.apply({"params": params}, x, method=method)
    return model.apply({"params": params}, tangents, method="lift")

  def tower(method, whole, box):
    if box is None:
      return encode(method, whole), None
    if whole.shape[1:] != box.shape[1:]:
      return encode(method, whole), encode(method, box)
    # Interleaved, so that sharded rows stay where they are.
    boxes = box.reshape(len(whole), -1, *whole.shape[1:])
    both = jnp.concatenate([whole[:, None], boxes], axis=1)
    both = encode(method, both.reshape(-1, *whole.shape[1:]))
    both = both.reshape(len(whole), -1, both.shape[-1])
    return both[:, 0], both[:, 1:].reshape(len(box), -1)

  image, box_image = tower("encode_image", inputs.image, inputs.box_image)
  text, box_text = tower("encode_text", inputs.text, inputs.box_text)
  return Embeddings(
    image, text, box_image, box_text, inputs.distinct, inputs.valid
  )


def update(
  state: TrainState,
  batch: PyTree,
  model: DualEncoder,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  read: Callable[[Any], Inputs] = lambda batch: batch,
  micro_batches: int = 1,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
  """One optimiser step.

  The scalar parameters are projected into their bounds after the step rather
  than clamped before it, so their gradient survives at the bound.

  An update whose loss or gradient is not finite is skipped: the step counts,
  for its batch is spent, and parameters and optimiser stay as they were. The
  optimiser counts its own updates, so its schedule is late by those skipped.

  Args:
    state: before the step.
    batch: what `read` takes; by default the `Inputs` themselves.
    model: the towers.
    objective: the loss over the whole batch.
    optimizer: of the state.
    read: batch -> inputs, row by row: augmentation.
    micro_batches: in which the batch is read and embedded; results are those
      of 1 up to rounding, in less memory and more time (`gradient_cache`).

  Returns:
    The next state, and loss, terms, scalars and gradient norm of this step
    (before the update), and "skipped": 1 if it was, else 0.
  """

  def embed_batch(params, batch):
    return embed(model, params, read(batch))

  def loss_of(params, embeddings):
    scalars: Any = model.apply({"params": params}, method="scalars")
    loss, terms = objective(embeddings, scalars)
    return loss, terms | scalars

  if micro_batches > 1:
    (loss, metrics), grads = gradient_cache.value_and_grad(
      loss_of, embed_batch, state.params, batch, micro_batches
    )
  else:
    (loss, metrics), grads = jax.value_and_grad(
      lambda params: loss_of(params, embed_batch(params, batch)), has_aux=True
    )(state.params)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params: Any = optax.apply_updates(state.params, updates)
  params = bound_scalars(params)
  metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
  # A norm is finite only if every number is, and none near overflow. To look at
  # the new parameters as well would keep one more copy of them: that finite
  # gradients make finite ones is what `config.validate` sees to.
  good = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
  params, opt_state = jax.tree.map(
    lambda new, old: jnp.where(good, new, old),
    (params, opt_state),
    (state.params, state.opt_state),
  )
  metrics["skipped"] = 1.0 - good.astype(jnp.float32)
  return TrainState(state.step + 1, params, opt_state), metrics
