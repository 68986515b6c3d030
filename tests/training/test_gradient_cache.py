"""Micro-batches give the whole batch's gradients; rows stay in place."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.systems.objectives import OBJECTIVES, USES_BOXES, Embeddings
from hyperclip_jax.training import gradient_cache, sharding


def test_a_part_keeps_an_examples_boxes_and_join_undoes_it():
  batch = {
    "image": jnp.arange(12),
    "box": jnp.repeat(jnp.arange(12), 2)[:, None] * 10,
  }
  parts = [gradient_cache.part(batch, index, 3) for index in range(3)]
  np.testing.assert_array_equal(parts[1]["image"], [1, 4, 7, 10])
  np.testing.assert_array_equal(
    parts[1]["box"][:, 0], [10, 10, 40, 40, 70, 70, 100, 100]
  )
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
  jax.tree.map(
    np.testing.assert_array_equal, gradient_cache.join(stacked), batch
  )


def embed(params, batch):
  """A tower that is one matrix."""

  def lift(x) -> Any:
    return x if x is None else lorentz.expmap0(x @ params["w"], params["curv"])

  image, text, box_image, box_text = (lift(x) for x in batch[:4])
  return Embeddings(
    image, text, box_image, box_text, batch.distinct, batch.valid
  )


def inputs(name):
  """Rows of 16 examples; two boxes each, some of them fillers."""
  rng = np.random.default_rng(0)

  def rows(count):
    return jnp.asarray(rng.standard_normal((count, 6)), jnp.float32)

  if name not in USES_BOXES:
    return Embeddings(rows(16), rows(16))
  valid = rng.random(32) < 0.7
  distinct = valid & (rng.random(32) < 0.7)
  masks = jnp.asarray(distinct), jnp.asarray(valid)
  return Embeddings(rows(16), rows(16), rows(32), rows(32), *masks)


def loss_fn(params, embeddings, name):
  scalars = {"curv": params["curv"], "logit_scale": params["logit_scale"]}
  return OBJECTIVES[name](embeddings, scalars)


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
  whole = jax.value_and_grad(lambda p: loss(p, embed(p, batch)), has_aux=True)
  cached = functools.partial(
    gradient_cache.value_and_grad, loss, embed, micro_batches=4
  )
  found, wanted = (
    jax.jit(cached)(params(), batch),
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
    scores = points.box_image @ points.text.T + points.box_text @ points.image.T
    rows = jax.nn.logsumexp(params["logit_scale"] * scores, axis=1)
    rows = jnp.where(points.distinct, 2 * rows, rows)
    return jnp.mean(jnp.where(points.valid, rows, 0)), {}

  def step(params, batch):
    return gradient_cache.value_and_grad(loss, embed, params, batch, 2)

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
  wanted = jax.grad(lambda p: loss(p, embed(p, inputs("hycoclip")))[0])(
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
