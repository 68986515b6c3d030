"""Our numbers beside the official code's: what the golden tests compare.

`benchmarks.gpu` asks the same of a GPU.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hyperclip_jax.optim import adamw
from hyperclip_jax.systems.objectives import OBJECTIVES, USES_BOXES, Embeddings
from hyperclip_jax.training import step as state_lib
from hyperclip_jax.training.step import Inputs, TrainState
from tests import golden_files

STEPS = 20
KINDS = ("image", "text", "box_image", "box_text")


class Pair(NamedTuple):
  """What we compute, and what the official code computed."""

  name: str
  found: np.ndarray
  wanted: np.ndarray


def features(name: str) -> list[Pair]:
  """Lifted embeddings of the mini model's first batch."""
  golden = golden_files.arrays(f"{name}_mini")
  model, params = golden_files.model(name)
  out = model.apply(
    {"params": params},
    jnp.asarray(golden["images"][0]),
    jnp.asarray(golden["tokens"][0]),
  )
  found = zip(("image", "text"), jax.device_get(out), strict=True)
  return [Pair(kind, rows, golden[f"feat/{kind}"]) for kind, rows in found]


@functools.cache
def loss_cases() -> tuple[dict[str, np.ndarray], list[str]]:
  """The golden losses in float64, and the names of their cases."""
  golden = golden_files.arrays("losses_float64")
  return golden, sorted({name.split("/")[0] for name in golden})


def losses(
  case: str, name: str
) -> tuple[dict[str, np.ndarray], Iterator[Pair]]:
  """Inputs of a case; terms of an objective and its gradients, in float64."""
  golden, _ = loss_cases()
  given = {k: golden[f"{case}/{name}/in/{k}"] for k in KINDS}
  scalar_names = ("logit_scale", "curv")[: 1 if name == "clip" else 2]
  logs = {
    k: np.log(golden[f"{case}/{name}/in/{k}"].reshape(())) for k in scalar_names
  }

  def loss_fn(embeddings, logs):
    scalars = {k: jnp.exp(v) for k, v in logs.items()}
    return OBJECTIVES[name](Embeddings(**embeddings), scalars)

  with jax.enable_x64(True):
    arrays: Any = jax.tree.map(jnp.asarray, (given, logs))
    gradient_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
    (loss, terms), (grads, log_grads) = jax.jit(gradient_fn)(*arrays)
  found = {"loss": loss, **terms}
  found |= {f"grad_{k}": v for k, v in grads.items()}
  found |= {f"grad_{k}_log": v for k, v in log_grads.items()}
  prefix = f"{case}/{name}/out/"
  wanted = {
    key.removeprefix(prefix): value
    for key, value in golden.items()
    if key.startswith(prefix) and key.removeprefix(prefix) not in scalar_names
  }
  pairs = (
    Pair(term, np.asarray(found[term]).reshape(value.shape), value)
    for term, value in wanted.items()
  )
  return given, pairs


@functools.cache
def training(name: str) -> tuple[list[dict[str, Any]], TrainState]:
  """Metrics of twenty steps of the official recipe, and the final state."""
  golden = golden_files.arrays(f"{name}_mini")
  model, params = golden_files.model(name)
  optimizer = adamw.adamw(
    adamw.schedule(5e-4, warmup=4, steps=STEPS),
    b1=0.9,
    b2=0.98,
    eps=1e-8,
    weight_decay=0.2,
    decay_norm_and_bias=True,
  )
  params = jax.tree.map(jnp.asarray, params)
  state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
  step_fn = jax.jit(
    functools.partial(
      state_lib.update,
      model=model,
      objective=OBJECTIVES[name],
      optimizer=optimizer,
    )
  )
  rows = []
  for step in range(STEPS):
    batch = {k: jnp.asarray(golden[k][step % 4]) for k in (
      "images", "tokens", "box_images", "box_tokens"
    )}  # fmt: skip
    inputs = Inputs(batch["images"], batch["tokens"])
    if name in USES_BOXES:
      inputs = inputs._replace(
        box_image=batch["box_images"], box_text=batch["box_tokens"]
      )
    state, metrics = step_fn(state, inputs)
    rows.append(metrics)
  return jax.device_get(rows), state


def series(name: str) -> Iterator[Pair]:
  """Each loss term and scalar over twenty steps, and the first gradients."""
  golden = golden_files.arrays(f"{name}_mini")
  rows, _ = training(name)
  for key, wanted in golden.items():
    metric = key.removeprefix("train/")
    if metric in rows[0]:
      yield Pair(key, np.array([row[metric] for row in rows]), wanted)
  norm = np.linalg.norm(golden["grad_norms"])
  yield Pair("grad_norm", np.asarray(rows[0]["grad_norm"]), norm)
