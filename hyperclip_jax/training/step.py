"""The training state, and one update of it."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from hyperclip_jax.systems.task import Batch, Task, Variables
from hyperclip_jax.training import gradient_cache


@flax.struct.dataclass
class TrainState:
  """State changed by an update; also a tree of its shapes or shardings.

  Attributes:
    step: () int32, number of updates so far.
    variables: variables of the system, with the trained ones under "params".
    opt_state: state of the optimizer.
  """

  step: PyTree
  variables: PyTree
  opt_state: PyTree

  @property
  def params(self) -> PyTree:
    """Trained variables."""
    return self.variables["params"]


def init(
  task: Task, optimizer: optax.GradientTransformation, key: PRNGKeyArray
) -> TrainState:
  """Initialises a state at step 0.

  Args:
    task: task that initialises the variables.
    optimizer: gradient transformation that initialises its own state.
    key: random key for the variables.

  Returns:
    State at step 0.
  """
  variables = task.init(key)
  opt_state = optimizer.init(variables["params"])
  return TrainState(jnp.zeros((), jnp.int32), variables, opt_state)


def update(
  task: Task,
  optimizer: optax.GradientTransformation,
  state: TrainState,
  batch: Batch,
  key: PRNGKeyArray,
  micro_batches: int = 1,
  read: Callable[[Any], Batch] = lambda batch: batch,
  watch: Callable[[PyTree], dict[str, Any]] = lambda grads: {},
) -> tuple[TrainState, dict[str, Any]]:
  """Takes one optimizer step.

  Parameters are projected into their bounds after the step rather than clamped
  before it, so that their gradient does not vanish at the bound.

  An update whose loss or gradient is not finite is skipped: the step counts and
  the batch is used up, but variables and optimizer stay as they were. The
  optimizer counts its own updates, so its schedule lags by those skipped.

  Args:
    task: task that embeds the batch and computes the loss.
    optimizer: gradient transformation that made `state.opt_state`.
    state: state before the step.
    batch: argument of `read`; by default views as in `systems.task`.
    key: random key of the run, into which the step is folded.
    micro_batches: number of parts in which the batch is read and embedded. The
      results are the same up to rounding, in less memory and more time (see
      `gradient_cache`), but random numbers differ.
    read: function from a batch to an augmented one, row by row.
    watch: function of the gradients, whose results join the metrics.

  Returns:
    Next state, and metrics: loss, its terms and the gradient norm before the
    update, and "skipped", 1 if the update was skipped, else 0.

  Raises:
    ValueError: the task cannot be embedded in micro-batches.
  """
  if micro_batches > 1 and not task.micro_batches:
    raise ValueError(
      "this system keeps statistics of whole batches: micro_batches must be 1"
    )
  key = jax.random.fold_in(key, state.step)

  def embed(params, batch, key) -> tuple[PyTree, Variables]:
    variables = {**state.variables, "params": params}
    return task.embed(variables, read(batch), key)

  def loss_of(params, outputs) -> tuple[Float[Array, ""], Any]:
    return task.loss(params, outputs, state.step)

  if micro_batches > 1:
    variables = state.variables
    (loss, metrics), grads = gradient_cache.value_and_grad(
      loss_of,
      lambda params, batch, key: embed(params, batch, key)[0],
      state.params,
      batch,
      key,
      micro_batches,
      examples(task, batch),
    )
  else:

    def whole(params) -> tuple[Float[Array, ""], Any]:
      outputs, variables = embed(params, batch, key)
      loss, metrics = loss_of(params, outputs)
      return loss, (metrics, variables)

    (loss, (metrics, variables)), grads = jax.value_and_grad(
      whole, has_aux=True
    )(state.params)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params: Any = optax.apply_updates(state.params, updates)
  new_variables = task.project({**variables, "params": params})
  _check(metrics)
  metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
  # The norm is finite only if every element is, and none is near overflow. The
  # new parameters are not checked, which would take another copy of them:
  # within the bounds of `options.Optim` finite gradients give finite ones.
  good = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
  new_variables, opt_state = jax.tree.map(
    lambda new, old: jnp.where(good, new, old),
    (new_variables, opt_state),
    (dict(state.variables), state.opt_state),
  )
  metrics["skipped"] = 1.0 - good.astype(jnp.float32)
  metrics |= watch(grads)
  return TrainState(state.step + 1, new_variables, opt_state), metrics


def _check(metrics: dict[str, Any]) -> None:
  """Checks what the loss of a task gives to the log."""
  for name, value in metrics.items():
    if name in ("loss", "grad_norm", "skipped"):
      raise ValueError(f"the loss names a metric {name!r}: choose another name")
    if jnp.shape(value):
      raise ValueError(
        f"metric {name!r} of the loss must be a number, found the shape "
        f"{jnp.shape(value)}"
      )


def examples(task: Task, batch: Batch) -> int:
  """Infers the number of examples of a batch from the rows of its views.

  Args:
    task: task with the views.
    batch: batch of these views.

  Returns:
    Number of examples.

  Raises:
    ValueError: the views disagree.
  """
  found = {
    (len(leaf), task.views[name].count)
    for name, view in batch.items()
    for leaf in jax.tree.leaves(view)
  }
  counts = {rows // count for rows, count in found if rows % count == 0}
  if len(counts) != 1 or any(rows % count for rows, count in found):
    raise ValueError(
      f"views of {[count for _, count in sorted(found)]} rows per example have "
      f"{[rows for rows, _ in sorted(found)]} rows"
    )
  return counts.pop()
