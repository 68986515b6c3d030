"""Numbers of HypLL in float64: values and gradients, also of the curvature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import beta, lorentz, poincare
from tests import golden_files

CURVS = ("0.3", "1", "2.5")


def _cat(a, b, c):
  joined = beta.concatenate([poincare.to_lorentz(x, c) for x in (a, b)], c)
  return poincare.from_lorentz(joined, c)


def _flatten(x, c):
  # The file's channels are axis 1, and come first in its flattened vectors.
  x = jnp.moveaxis(x, 1, -1)
  flat = beta.flatten(poincare.to_lorentz(x, c), c, axes=2)
  flat = poincare.from_lorentz(flat, c).reshape(2, 6, 3)
  return jnp.swapaxes(flat, 1, 2).reshape(2, 18)


def _own_variance(x, c):
  mean = poincare.frechet_mean(x, c)
  return poincare.frechet_variance(x, mean, c).reshape(1, 1)


# The golden name of each operation, ours, and its arguments before c.
OPERATIONS = {
  "mobius_add": (poincare.add, "x y"),
  "expmap0": (poincare.expmap0, "v"),
  "logmap0": (poincare.logmap0, "y"),
  "expmap": (poincare.expmap, "x v"),
  "logmap": (poincare.logmap, "x y"),
  "gyration": (poincare.gyration, "u v w"),
  "transp": (poincare.ptransp, "x y v"),
  "dist": (poincare.dist, "x y"),
  "cdist": (poincare.pairwise_dist, "x y"),
  "inner": (lambda *a: poincare.inner(*a)[:, None], "x u v"),
  "euc_to_tangent": (poincare.gradient, "x u"),
  "project": (lambda x, c: poincare.project(x, c, 1e-5), "x"),
  "hyperplane_dists": (poincare.hyperplane_dists, "x z r"),
  "hyperplane_dists_nobias": (
    lambda x, z, c: poincare.hyperplane_dists(x, z, None, c),
    "x z",
  ),
  "fully_connected": (poincare.fully_connected, "x z r"),
  "fully_connected_nobias": (
    lambda x, z, c: poincare.fully_connected(x, z, None, c),
    "x z",
  ),
  "midpoint": (poincare.midpoint, "x"),
  "midpoint_weighted": (
    lambda x, w, c: poincare.midpoint(x, c, w[:, 0]),
    "x w",
  ),
  "frechet_mean": (poincare.frechet_mean, "x"),
  "frechet_mean_batched": (poincare.frechet_mean, "x"),
  "frechet_variance": (poincare.frechet_variance, "x mu"),
  "frechet_variance_own_mean": (_own_variance, "x"),
  "flatten": (_flatten, "x"),
  "cat": (_cat, "a b"),
}


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("hyperbolic_layers/poincare_float64")


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@functools.cache
def _value_and_gradients(name):
  def compute(cotangent, *arguments):
    out, pull = jax.vjp(OPERATIONS[name][0], *arguments)
    return out, pull(cotangent)

  return jax.jit(compute)


def test_every_operation_is_tested(golden):
  # The patches of a convolution are tested as one, in tests/nn.
  assert {k.split("/")[1] for k in golden} == {*OPERATIONS, "unfold_k3_p1_s2"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients(golden, name):
  # The published Frechet solver stops at 1e-12.
  rtol = 1e-8 if "frechet" in name else 1e-9
  names = OPERATIONS[name][1].split()
  for curv in CURVS:
    arrays = {
      key.split("/")[2]: jnp.asarray(value)
      for key, value in golden.items()
      if key.startswith(f"c{curv}/{name}/")
    }
    inputs = [arrays[f"in_{n}"] for n in names] + [jnp.asarray(float(curv))]
    out, grads = _value_and_gradients(name)(arrays["cot"], *inputs)
    expected = [arrays[f"grad_{n}"] for n in [*names, "c"]]
    for a, b in zip([out, *grads], [arrays["out"], *expected], strict=True):
      atol = rtol * float(jnp.abs(b).max())
      np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=curv)


def test_a_view_and_its_tangents():
  """A vector of the ball at the root is half the one of the hyperboloid."""
  u, c = jnp.asarray([0.3, -0.2]), jnp.asarray(0.7)
  np.testing.assert_allclose(
    poincare.to_lorentz(poincare.expmap0(u, c), c),
    lorentz.expmap0(2 * u, c),
    rtol=1e-14,
  )


def test_a_long_way_ends_at_the_boundary():
  with jax.enable_x64(False):
    p = poincare.expmap0(jnp.array([300.0, 400.0]), 1.0)
    np.testing.assert_allclose(p, [0.6, 0.8], rtol=1e-6)
    p = poincare.expmap(jnp.array([0.9, 0.0]), jnp.array([0.0, 99.0]), 1.0)
    np.testing.assert_allclose(jnp.linalg.norm(p), 1, rtol=1e-6)
