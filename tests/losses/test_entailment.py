"""Several relations at once are the relations one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Product
from hyperclip_jax.losses.entailment import (
  KINDS,
  Relation,
  entailment,
  of_relations,
  residuals,
)
from hyperclip_jax.losses.rows import mean

SPACES = {
  "lorentz": lambda: Lorentz(jnp.float32(0.7)),
  "product": lambda: Product(jnp.array([0.5, 2.0], jnp.float32)),
}


def relations(pairs):
  """Relations of 4 examples with 1, 3 and 2 pairs, of three etas."""
  where = jnp.arange(12) % 4 < 3
  return {
    "whole": Relation(*pairs["whole"], 0.7),
    "part": Relation(*pairs["part"], 1.2, where),
    "query": Relation(*pairs["query"], 1.0),
  }


def points():
  rng = np.random.default_rng(0)
  return {
    name: tuple(jnp.float32(rng.normal(size=(2, count, 4))))
    for name, count in {"whole": 4, "part": 12, "query": 8}.items()
  }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
def test_relations_at_once_are_those_one_by_one(space, kind):
  space = SPACES[space]()

  def at_once(pairs):
    given = relations(pairs)
    found = of_relations(space, given, kind)
    return {k: mean(found[k], given[k].where) for k in given}

  def one_by_one(pairs):
    return {
      name: entailment(
        space, r.general, r.specific, r.aperture_scale, r.where, kind
      )
      for name, r in relations(pairs).items()
    }

  for function in (lambda f: f, jax.jacrev):
    found, wanted = (
      jax.jit(function(f))(points()) for f in (at_once, one_by_one)
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7),
      found,
      wanted,
    )


@pytest.mark.parametrize("filler", [np.inf, np.nan, 3e38])
def test_pairs_left_out_may_hold_anything(filler):
  def loss(pairs):
    given = relations(pairs)
    found = of_relations(Lorentz(1.0), given)
    return sum(mean(found[k], given[k].where) for k in given)

  given = points()
  spoilt = tuple(x.at[3::4].set(filler) for x in given["part"])
  function = jax.jit(jax.value_and_grad(loss))
  found, wanted = function(given | {"part": spoilt}), function(given)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_each_pair_has_its_eta():
  x, y = points()["whole"]
  eta = jnp.array([0.5, 0.7, 1.0, 1.2])
  for make in SPACES.values():
    found = residuals(make(), x, y, eta)
    for row in range(4):
      one = residuals(
        make(), x[row : row + 1], y[row : row + 1], float(eta[row])
      )
      np.testing.assert_allclose(found[row], one[0], rtol=2e-6, atol=1e-7)
