"""Micro-batches give the whole batch's gradients; rows stay in place."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hyperclip_jax import systems
from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.training import gradient_cache, sharding


def test_a_part_keeps_an_examples_boxes_and_join_undoes_it():
  batch = {
    "image": jnp.arange(12),
    "box": jnp.repeat(jnp.arange(12), 2)[:, None] * 10,
  }
  parts = [gradient_cache.part(batch, index, 3, 12) for index in range(3)]
  np.testing.assert_array_equal(parts[1]["image"], [1, 4, 7, 10])
  np.testing.assert_array_equal(
    parts[1]["box"][:, 0], [10, 10, 40, 40, 70, 70, 100, 100]
  )
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
  jax.tree.map(
    np.testing.assert_array_equal, gradient_cache.join(stacked, 12), batch
  )


KEY = jax.random.key(0)


def embed(params, batch, key):
  """A tower that is one matrix; masks pass."""
  del key
  space = Lorentz(params["curv"])

  def tower(x) -> Any:
    floats = jnp.issubdtype(x.dtype, jnp.floating)
    return space.lift(x @ params["w"]) if floats else x

  return jax.tree.map(tower, batch)


def inputs(name):
  """Rows of 16 examples; two boxes each, some of them fillers."""
  rng = np.random.default_rng(0)

  def rows(count):
    return jnp.asarray(rng.standard_normal((count, 6)), jnp.float32)

  whole = {"image": rows(16), "text": rows(16)}
  if name != "hycoclip":
    return {"whole": whole}
  valid = rng.random(32) < 0.7
  distinct = valid & (rng.random(32) < 0.7)
  part = {"image": rows(32), "text": rows(32)}
  part |= {"distinct": jnp.asarray(distinct), "valid": jnp.asarray(valid)}
  return {"whole": whole, "part": part}


def loss_fn(params, outputs, name):
  space = Sphere() if name == "clip" else Lorentz(params["curv"])
  return systems.find(name).terms(space, params["logit_scale"], outputs)


def params():
  w = np.random.default_rng(1).standard_normal((6, 4)) / 4
  return {
    "w": jnp.asarray(w, jnp.float32),
    "curv": jnp.asarray(0.8),
    "logit_scale": jnp.asarray(4.0),
  }


@pytest.mark.parametrize(
  "name", ["clip", "meru", pytest.param("hycoclip", marks=pytest.mark.slow)]
)
def test_gradients_are_those_of_the_whole_batch(name):
  loss = functools.partial(loss_fn, name=name)
  batch = inputs(name)
  whole = jax.value_and_grad(
    lambda p: loss(p, embed(p, batch, KEY)), has_aux=True
  )
  cached = functools.partial(
    gradient_cache.value_and_grad, loss, embed, micro_batches=4, examples=16
  )
  found, wanted = (
    jax.jit(cached)(params(), batch, key=KEY),
    jax.jit(whole)(params()),
  )
  assert all(np.any(leaf) for leaf in jax.tree.leaves(wanted[1]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    found,
    wanted,
  )


def test_rows_stay_on_their_device():
  """Each example with its two boxes and their masks."""

  def loss(params, points):
    whole, part = points["whole"], points["part"]
    scores = part["image"] @ whole["text"].T + part["text"] @ whole["image"].T
    rows = jax.nn.logsumexp(params["logit_scale"] * scores, axis=1)
    rows = jnp.where(part["distinct"], 2 * rows, rows)
    return jnp.mean(jnp.where(part["valid"], rows, 0)), {}

  def step(params, batch):
    return gradient_cache.value_and_grad(loss, embed, params, batch, KEY, 2, 16)

  mesh = sharding.make_mesh()
  rows = NamedSharding(mesh, PartitionSpec("data"))
  batch = jax.device_put(inputs("hycoclip"), rows)
  compiled = jax.jit(step).lower(params(), batch).compile()
  sent = collectives(compiled.as_text() or "")
  assert {kind for _, kind in sent} <= {"all-gather", "all-reduce"}
  # Inputs are 6 wide, embeddings 4.
  gathered = [shape for shape, kind in sent if kind == "all-gather"]
  assert gathered
  assert not [shape for shape in gathered if shape.endswith(",6]")]
  wanted = jax.grad(lambda p: loss(p, embed(p, inputs("hycoclip"), KEY))[0])(
    params()
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    compiled(params(), batch)[1],
    wanted,
  )


def collectives(text: str) -> list[tuple[str, str]]:
  """(shape, kind) of every array that goes between devices in an HLO."""
  kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
  pattern = re.compile(rf"= (.*?) ({kinds})(?:-start)?\(")
  return [
    (shape, match[2])
    for line in text.splitlines()
    if (match := pattern.search(line))
    for shape in re.findall(r"\w+\[[\d,]*\]", match[1])
  ]
