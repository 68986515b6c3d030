"""Reads and writes the training state of the official code.

PyTorch's AdamW numbers its states. The official code numbers the parameters
group by group, in the order of the modules: kernels, embeddings and the CLS
token; then norms and biases; then the scalars, which never decay.
"""

import functools
import itertools
import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperclip_jax.checkpoints import torch_checkpoint, torch_layout
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.checkpoints.torch_checkpoint import import_torch
from hyperclip_jax.optim import adamw
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.training.step import TrainState

SCALARS = tuple(dual_encoder.hyperbolic_scalars(1))
COUNTED = (optax.ScaleByAdamState, optax.ScaleByScheduleState)


class Recipe(NamedTuple):
  """Optimiser settings, as in `config.optim` and `config.steps`."""

  learning_rate: float
  warmup: int
  steps: int
  b1: float
  b2: float
  eps: float
  weight_decay: float
  decay_norm_and_bias: bool

  def optimizer(self) -> optax.GradientTransformation:
    """Builds AdamW with its schedule; scalars never decay."""
    mask = functools.partial(
      adamw.decay_mask,
      matrices=dual_encoder.MATRICES,
      scalars=SCALARS,
      norm_and_bias=self.decay_norm_and_bias,
    )
    return adamw.adamw(
      adamw.schedule(self.learning_rate, self.warmup, self.steps),
      b1=self.b1,
      b2=self.b2,
      eps=self.eps,
      weight_decay=self.weight_decay,
      mask=mask,
    )


class Training(NamedTuple):
  """A model in training.

  Attributes:
    system: "clip", "meru" or "hycoclip".
    options: options of the system.
    recipe: settings of the optimizer.
    state: variables, optimizer state and step.
  """

  system: str
  options: dual_encoder.Options
  recipe: Recipe
  state: TrainState


def load(
  path: str | pathlib.Path,
  vision_heads: int | None = None,
  text_heads: int | None = None,
) -> Training:
  """Reads an official checkpoint with its optimiser.

  Args:
    path: `.pth` file.
    vision_heads: attention heads of the image tower, if its width is not one of
      the published models'.
    text_heads: attention heads of the text tower, likewise.

  Returns:
    Model, optimizer state and settings.

  Raises:
    ValueError: it has no optimiser state, or one of another structure.
  """
  system, options, variables = torch_checkpoint.load(
    path, vision_heads, text_heads
  )
  if system not in torch_layout.SYSTEMS:
    raise ValueError(
      f"{path}: the optimiser's state of {system} is not known; "
      "torch_checkpoint.load reads the weights"
    )
  checkpoint = torch_checkpoint.read(path)
  try:
    optimizer, scheduler = checkpoint["optimizer"], checkpoint["scheduler"]
    recipe = _recipe(optimizer["param_groups"], scheduler)
    count, mu, nu = _moments(optimizer, system, options)
    step, last = int(checkpoint["iteration"]), int(scheduler["last_epoch"])
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path}: no optimiser state of the official code ({error!r}); "
      "torch_checkpoint.load reads weights without one"
    ) from error

  def filled(part):
    if isinstance(part, optax.ScaleByAdamState):
      return part._replace(count=jnp.int32(count), mu=mu, nu=nu)
    return part._replace(count=jnp.int32(last))

  params, mu, nu = jax.tree.map(jnp.asarray, (variables["params"], mu, nu))
  opt_state = jax.tree.map(
    lambda part: filled(part) if isinstance(part, COUNTED) else part,
    recipe.optimizer().init(params),
    is_leaf=lambda part: isinstance(part, COUNTED),
  )
  state = TrainState(jnp.int32(step), {"params": params}, opt_state)
  return Training(system, options, recipe, state)


def save(path: str | pathlib.Path, training: Training) -> None:
  """Writes a checkpoint that the official code can resume; inverts `load`.

  The official code always decays the CLS token, ours only with
  `decay_norm_and_bias`.

  Args:
    path: `.pth` file to write.
    training: model, optimizer state and settings.
  """
  torch = import_torch()
  system, options, recipe, state = training
  adam, schedule = jax.tree.leaves(
    state.opt_state, is_leaf=lambda part: isinstance(part, COUNTED)
  )
  moments = {
    name: torch_layout.to_state(jax.tree.map(np.asarray, tree), system, options)
    for name, tree in (("exp_avg", adam.mu), ("exp_avg_sq", adam.nu))
  }
  last = int(schedule.count)
  rate = _rate(recipe, last)
  groups = [
    [torch.nn.Parameter(torch.tensor(moments["exp_avg"][n])) for n in names]
    for names in _groups(system, options)
  ]
  decays = recipe.weight_decay * np.array([1, recipe.decay_norm_and_bias, 0])
  optimizer = torch.optim.AdamW(
    [
      {"params": group, "weight_decay": float(decay), "lr": rate}
      for group, decay in zip(groups, decays, strict=True)
    ],
    betas=(recipe.b1, recipe.b2),
    eps=recipe.eps,
  ).state_dict()
  for group in optimizer["param_groups"]:
    group["initial_lr"] = recipe.learning_rate
  optimizer["state"] = {
    i: {"step": torch.tensor(float(adam.count))}
    | {key: torch.tensor(arrays[name]) for key, arrays in moments.items()}
    for i, name in enumerate(itertools.chain(*_groups(system, options)))
  }
  scheduler = {
    "tsteps": recipe.steps,
    "wsteps": recipe.warmup,
    "base_lrs": [recipe.learning_rate] * 3,
    "last_epoch": last,
    "_step_count": last + 1,
    "_is_initial": False,
    "_get_lr_called_within_step": False,
    "_last_lr": [rate] * 3,
    "lr_lambdas": [{}, {}, {}],
  }
  official = Release(system, options, state.variables)
  checkpoint = {
    "model": torch_checkpoint.tensors(official),
    "optimizer": optimizer,
    "scheduler": scheduler,
    "iteration": int(state.step),
  }
  torch_checkpoint.write(path, checkpoint)


def _groups(system: str, options: dual_encoder.Options) -> list[list[str]]:
  """Lists official names in the optimiser's order, in three groups."""
  groups: list[list[str]] = [[], [], []]
  for name, leaf in torch_layout.layout(system, options).items():
    if name in SCALARS:
      groups[2].append(name)
    else:
      groups[leaf.path[-1] in ("scale", "bias")].append(name)
  return groups


def _recipe(groups: list[dict[str, Any]], scheduler: dict[str, Any]) -> Recipe:
  decays = [group["weight_decay"] for group in groups]
  if decays[2:] != [0.0] or decays[1] not in (0.0, decays[0]):
    raise ValueError(f"unexpected weight decays of the groups: {decays}")
  return Recipe(
    learning_rate=float(scheduler["base_lrs"][0]),
    warmup=int(scheduler["wsteps"]),
    steps=int(scheduler["tsteps"]),
    b1=float(groups[0]["betas"][0]),
    b2=float(groups[0]["betas"][1]),
    eps=float(groups[0]["eps"]),
    weight_decay=float(decays[0]),
    decay_norm_and_bias=decays[1] > 0,
  )


def _moments(
  optimizer: dict[str, Any], system: str, options: dual_encoder.Options
) -> tuple[int, dict[str, Any], dict[str, Any]]:
  """Returns (updates, first moments, second moments) as trees like ours."""
  wanted = [len(names) for names in _groups(system, options)]
  found = [len(group["params"]) for group in optimizer["param_groups"]]
  if found != wanted:
    raise ValueError(f"groups of {found} parameters, wanted {wanted}")
  numbers = [i for g in optimizer["param_groups"] for i in g["params"]]
  names = list(itertools.chain(*_groups(system, options)))
  states = {
    name: optimizer["state"][number]
    for name, number in zip(names, numbers, strict=True)
  }
  counts = {int(state["step"]) for state in states.values()}
  if len(counts) != 1:
    raise ValueError(
      f"parameters have different numbers of updates: {sorted(counts)}"
    )
  shapes = torch_layout.shapes(system, options)
  trees = []
  for key in ("exp_avg", "exp_avg_sq"):
    state = torch_checkpoint.arrays({n: s[key] for n, s in states.items()})
    for name, array in state.items():
      if array.shape != shapes[name]:
        raise ValueError(
          f"{key} number {numbers[names.index(name)]} has shape "
          f"{array.shape}, but {name} has {shapes[name]}"
        )
    trees.append(torch_layout.to_tree(state, system, options))
  return counts.pop(), trees[0], trees[1]


def _rate(recipe: Recipe, step: int) -> float:
  """Computes `optim.schedule` in float64, as stored by the official code."""
  if step < recipe.warmup:
    return recipe.learning_rate * step / recipe.warmup
  done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
  return recipe.learning_rate * math.cos(math.pi / 2 * done) ** 2
