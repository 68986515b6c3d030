"""Maximum separation against the published numbers and its definition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.geometry import hyperplanes, lorentz
from hyperclip_jax.nn import MaxSeparation, separation
from hyperclip_jax.nn.hyperbolic import MaxSeparationMLR
from tests import golden_files

CLASSES = (2, 3, 10, 100)


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("hyperbolic_layers/max_separation")


@pytest.mark.parametrize("classes", CLASSES)
def test_golden(golden, classes):
  with jax.enable_x64(True):
    found = {
      key.removeprefix(f"C{classes}/"): value
      for key, value in golden.items()
      if key.startswith(f"C{classes}/")
    }
    columns = separation.prototypes(classes)
    np.testing.assert_allclose(columns, found["P"], rtol=0, atol=2e-15)
    np.testing.assert_allclose(
      columns.T, found["prototypes_float32"], rtol=0, atol=1e-6
    )
    for radius in (1.0, 0.1):
      head = MaxSeparation(classes, radius)

      def loss(features, head=head):
        logits = head.apply({}, features)
        each = optax.softmax_cross_entropy_with_integer_labels(
          logits, jnp.asarray(found["labels"])
        )
        return each.mean(), logits

      with jax.numpy_dtype_promotion("standard"):
        (value, logits), grad = jax.value_and_grad(loss, has_aux=True)(
          jnp.asarray(found["features"])
        )
      for name, a in (
        ("logits", logits),
        ("loss", value),
        ("grad_features", grad),
      ):
        expected = found[f"r{radius:g}/{name}"]
        atol = 1e-9 * np.abs(expected).max()
        np.testing.assert_allclose(a, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("classes", [2, 7, 1500])
def test_columns_are_as_far_apart_as_can_be(classes):
  columns = separation.prototypes(classes)
  cosines = columns.T @ columns
  k = classes - 1
  expected = (1 + 1 / k) * np.eye(classes) - 1 / k
  np.testing.assert_allclose(cosines, expected, rtol=0, atol=1e-12)
  np.testing.assert_allclose(columns.sum(axis=1), 0, atol=1e-12)


def test_no_parameters_and_any_features():
  head = MaxSeparation(5, 0.1)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)))
  assert not head.init(jax.random.key(0), x)
  exact = 0.1 * np.asarray(x, np.float64) @ separation.prototypes(5)
  np.testing.assert_allclose(head.apply({}, x), exact, rtol=1e-5, atol=1e-7)
  half: Any = head.apply({}, x.astype(jnp.bfloat16))
  assert half.dtype == jnp.float32


def test_what_does_not_fit_is_named():
  with pytest.raises(ValueError, match="at least 2 classes, found 1"):
    separation.prototypes(1)
  with pytest.raises(ValueError, match="10 classes take 9 features, found 10"):
    MaxSeparation(10).init(jax.random.key(0), jnp.zeros((2, 10)))


def test_the_hyperbolic_twin():
  x = lorentz.expmap0(
    jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32), 0.7
  )
  columns = jnp.asarray(separation.prototypes(5), jnp.float32)
  np.testing.assert_allclose(
    MaxSeparationMLR(5, 3.0).apply({}, x, 0.7),
    3 * hyperplanes.logits(x, columns, None, 0.7),
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    MaxSeparationMLR(5, 3.0, ideal=True).apply({}, x, 0.7),
    -3 * hyperplanes.busemann(x, columns, 0.7),
    rtol=1e-6,
  )
  # Far out towards a prototype, it is the class.
  towards = lorentz.expmap0(5 * columns.T, 0.7)
  for ideal in (False, True):
    logits = MaxSeparationMLR(5, ideal=ideal).apply({}, towards, 0.7)
    np.testing.assert_array_equal(jnp.argmax(logits, axis=1), np.arange(5))
