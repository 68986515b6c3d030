"""HyCoCLIP with several boxes an example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.systems import hycoclip

BATCH, DIM = 5, 8


@pytest.fixture
def whole():
  keys = jax.random.split(jax.random.key(0), 2)
  return [0.5 * jax.random.normal(key, (BATCH, DIM)) for key in keys]


def boxes(parts, seed=1):
  keys = jax.random.split(jax.random.key(seed), 2)
  return [0.3 * jax.random.normal(key, (BATCH * parts, DIM)) for key in keys]


def loss_and_terms(whole, boxes, distinct, valid):
  masks = {"distinct": distinct, "valid": valid}
  part = dict(zip(("image", "text"), boxes, strict=True))
  part |= {name: mask for name, mask in masks.items() if mask is not None}
  outputs = {
    "whole": dict(zip(("image", "text"), whole, strict=True)),
    "part": part,
  }
  space = Lorentz(jnp.float32(1.0))
  return hycoclip.terms(space, jnp.float32(14.0), outputs)


def test_repeated_boxes_change_nothing(whole):
  """The mean over K equal boxes is that over one."""
  distinct = jnp.arange(BATCH) != 2
  one, one_terms = loss_and_terms(whole, boxes(1), distinct, None)
  repeated = [jnp.repeat(rows, 3, axis=0) for rows in boxes(1)]
  valid = jnp.ones(3 * BATCH, bool)
  three, terms = loss_and_terms(whole, repeated, jnp.repeat(distinct, 3), valid)
  np.testing.assert_allclose(three, one, rtol=1e-6)
  for name, value in one_terms.items():
    np.testing.assert_allclose(terms[name], value, rtol=1e-6, err_msg=name)


def test_each_box_belongs_to_its_example(whole):
  """Two boxes an example, against a loss of each alone, averaged."""
  two, distinct = boxes(2), jnp.ones(2 * BATCH, bool)
  _, terms = loss_and_terms(whole, two, distinct, None)
  alone = [
    loss_and_terms(whole, [rows[i::2] for rows in two], distinct[i::2], None)[1]
    for i in range(2)
  ]
  for name, value in terms.items():
    mean = (alone[0][name] + alone[1][name]) / 2
    np.testing.assert_allclose(value, mean, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_rows_that_fill_up_have_no_part_in_it(whole):
  valid = jnp.arange(2 * BATCH) % 3 != 1

  def loss(box_image, box_text):
    return loss_and_terms(whole, (box_image, box_text), valid, valid)[0]

  given = boxes(2)
  other = [
    jnp.where(valid[:, None], rows, filler)
    for rows, filler in zip(given, boxes(2, seed=9), strict=True)
  ]
  assert loss(*given) == loss(*other)
  for grad in jax.grad(loss, argnums=(0, 1))(*given):
    assert not grad[~valid].any()
    assert grad[valid].any(axis=1).all()


@pytest.mark.parametrize("distinct", [None, True])
def test_only_valid_boxes_are_distinct(whole, distinct):
  """Rows that fill up count in no term, whatever `distinct` says of them."""
  valid = jnp.arange(2 * BATCH) % 3 != 1
  given = boxes(2)
  wanted = loss_and_terms(whole, given, valid, valid)
  if distinct is not None:
    distinct = jnp.ones(2 * BATCH, bool)
  found = loss_and_terms(whole, given, distinct, valid)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_without_valid_distinct_counts_alone(whole):
  distinct = jnp.arange(2 * BATCH) % 4 != 1
  given = boxes(2)
  wanted = loss_and_terms(whole, given, distinct, jnp.ones(2 * BATCH, bool))
  found = loss_and_terms(whole, given, distinct, None)
  for name, value in wanted[1].items():
    np.testing.assert_allclose(found[1][name], value, rtol=1e-6, err_msg=name)
