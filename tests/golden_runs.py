"""Our numbers beside the official code's: what the golden tests compare.

`benchmarks.gpu` asks the same of a GPU.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hyperclip_jax import systems
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.optim import adamw
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.training import step as step_lib
from hyperclip_jax.training.step import TrainState
from tests import golden_files, meshes

STEPS = 20
KINDS = ("image", "text", "box_image", "box_text")


class Pair(NamedTuple):
  """What we compute, and what the official code computed."""

  name: str
  found: np.ndarray
  wanted: np.ndarray


def features(name: str) -> list[Pair]:
  """Points of the mini model's first batch."""
  golden = golden_files.arrays(f"{name}_mini")
  system, options, variables = golden_files.model(name)
  e = systems.find(system).encoder(options)
  space = e.space(variables["params"])
  images, tokens = (jnp.asarray(golden[k][0]) for k in ("images", "tokens"))
  found = {
    "image": space.lift(e.image(variables, images)),
    "text": space.lift(e.text(variables, tokens)),
  }
  return [
    Pair(kind, np.asarray(rows), golden[f"feat/{kind}"])
    for kind, rows in found.items()
  ]


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

  def loss_fn(points, logs):
    scalars = {k: jnp.exp(v) for k, v in logs.items()}
    space = Lorentz(scalars["curv"]) if "curv" in scalars else Sphere()
    outputs = {
      "whole": {k: points[k] for k in ("image", "text")},
      "part": {k: points[f"box_{k}"] for k in ("image", "text")},
    }
    terms = systems.find(name).terms
    return terms(space, scalars["logit_scale"], outputs)

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
def training(name: str, steps: int) -> tuple[list[dict[str, Any]], TrainState]:
  """Metrics of the first of the official recipe's steps, and the last state."""
  golden = golden_files.arrays(f"{name}_mini")
  system, options, variables = golden_files.model(name)
  task = systems.find(system).task(options, View(), meshes.mesh())
  mask = functools.partial(
    adamw.decay_mask,
    matrices=dual_encoder.MATRICES,
    scalars=task.rules.scalars,
    norm_and_bias=True,
  )
  optimizer = adamw.adamw(
    adamw.schedule(5e-4, warmup=4, steps=STEPS),
    b1=0.9,
    b2=0.98,
    eps=1e-8,
    weight_decay=0.2,
    mask=mask,
  )
  variables = jax.tree.map(jnp.asarray, variables)
  opt_state = optimizer.init(variables["params"])
  state = TrainState(jnp.zeros((), jnp.int32), variables, opt_state)
  step_fn = jax.jit(functools.partial(step_lib.update, task, optimizer))
  rows = []
  for step in range(steps):
    given = {k: jnp.asarray(golden[k][step % 4]) for k in (
      "images", "tokens", "box_images", "box_tokens"
    )}  # fmt: skip
    batch = {"whole": {"image": given["images"], "text": given["tokens"]}}
    if "part" in task.views:
      boxes = {"image": given["box_images"], "text": given["box_tokens"]}
      batch["part"] = boxes
    state, metrics = step_fn(state, batch, jax.random.key(0))
    rows.append(metrics)
  return jax.device_get(rows), state


def series(name: str, steps: int = STEPS) -> Iterator[Pair]:
  """Each loss term and scalar over the steps, and the first gradients."""
  golden = golden_files.arrays(f"{name}_mini")
  rows, _ = training(name, steps)
  for key, wanted in golden.items():
    metric = key.removeprefix("train/")
    if metric in rows[0]:
      found = np.array([row[metric] for row in rows])
      yield Pair(key, found, wanted[:steps])
  norm = np.linalg.norm(golden["grad_norms"])
  yield Pair("grad_norm", np.asarray(rows[0]["grad_norm"]), norm)
