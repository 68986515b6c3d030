"""The training state and one update of it."""

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
  """All that an update changes; also a tree of its shapes or shardings.

  Attributes:
    step: () int32, updates so far.
    variables: of the system, the trained ones under "params".
    opt_state: state of the optimizer.
  """

  step: PyTree
  variables: PyTree
  opt_state: PyTree

  @property
  def params(self) -> PyTree:
    """The trained variables."""
    return self.variables["params"]


def init(
  task: Task, optimizer: optax.GradientTransformation, key: PRNGKeyArray
) -> TrainState:
  """Makes a fresh state at step 0.

  Args:
    task: makes the variables.
    optimizer: makes its state for the parameters.
    key: seed of the variables.
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
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
  """Takes one optimizer step.

  Parameters are projected into their bounds after the step rather than clamped
  before it, so their gradient survives at the bound.

  An update whose loss or gradient is not finite is skipped: the step counts,
  for its batch is spent, and variables and optimizer stay as they were. The
  optimizer counts its own updates, so its schedule is late by those skipped.

  Args:
    task: embeds the batch and computes the loss.
    optimizer: gradient transformation that made `state.opt_state`.
    state: state before the step.
    batch: what `read` takes; by default views as of `systems.task`.
    key: of this run; the step is folded into it.
    micro_batches: number of parts in which the batch is read and embedded. The
      results are those of 1 up to rounding, in less memory and more time (see
      `gradient_cache`); random numbers differ.
    read: batch -> augmented batch, row by row.

  Returns:
    The next state, and loss, terms and gradient norm of this step (before the
    update), and "skipped": 1 if it was, else 0.

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
  metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
  # A norm is finite only if every number is, and none near overflow. To look at
  # the new parameters as well would keep one more copy of them: that finite
  # gradients make finite ones is what the config's bounds see to.
  good = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
  new_variables, opt_state = jax.tree.map(
    lambda new, old: jnp.where(good, new, old),
    (new_variables, opt_state),
    (dict(state.variables), state.opt_state),
  )
  metrics["skipped"] = 1.0 - good.astype(jnp.float32)
  return TrainState(state.step + 1, new_variables, opt_state), metrics


def examples(task: Task, batch: Batch) -> int:
  """Number of examples of a batch, by the rows of its views."""
  found = {
    (len(leaf), task.views[name].count)
    for name, view in batch.items()
    for leaf in jax.tree.leaves(view)
  }
  counts = {rows // count for rows, count in found if rows % count == 0}
  if len(counts) != 1 or any(rows % count for rows, count in found):
    raise ValueError(
      f"views of {[count for _, count in sorted(found)]} rows an example hold "
      f"{[rows for rows, _ in sorted(found)]} rows"
    )
  return counts.pop()
