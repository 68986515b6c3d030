"""Every value and derivative is finite, also where the formulas are singular.

The same grid breaks a literal port of the published PyTorch code, whose clamps
are masked to zero by torch and turn into NaN here.
"""

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import (
  boosts,
  hyperplanes,
  klein,
  lorentz,
  means,
  poincare,
  wrapped_normal,
)

CURVS = (0.1, 0.5, 1.0, 2.5)
RADII = (0.0, 1e-6, 1e-3, 0.1, 1.0, 4.0, 8.0, 10.0)
DISTANCES = (0.0, 1e-6, 1e-3, 0.1, 1.0, 4.0, 10.0)
ANGLES = (0.0, 1.0, np.pi / 2, np.pi)
DTYPES = ("float32", "float64")
# The shape of the grid below, for others that want to share its compilation.
GRID_ROWS = len(RADII) * (len(DISTANCES) * len(ANGLES) + 3) + 2
# Most of the time here is compilation, of programs that run once.
_QUICK_COMPILE = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
  "xla_disable_hlo_passes": "fusion",
}


# Every public function as a function of a pair, tangent vectors made from it.
def _expmap(x, y, curv):
  return lorentz.expmap(x, y - x, curv)


def _ptransp(x, y, curv):
  return lorentz.ptransp(x, y, jnp.arctan(x - 2 * y), curv)


def _centroid(x, y, curv):
  return lorentz.centroid(jnp.stack([x, y]), curv, jnp.ones_like(x[:2]))


def _geodesic(x, y, curv):
  return lorentz.geodesic(x, y, curv / 3, curv)  # curv / 3: t gets a gradient


def _gyration(x, y, curv):
  return boosts.gyration(x, y, jnp.arctan(x - 2 * y), curv)


def _logits(x, y, curv):
  # The last normal is 0; an offset gets a gradient too.
  z = jnp.stack([jnp.arctan(y), jnp.zeros_like(y)], axis=-1)
  return hyperplanes.logits(x, z, jnp.arctan(y[:2]), curv)


def _fully_connected(x, y, curv):
  z = jnp.stack([jnp.arctan(y), jnp.zeros_like(y)], axis=-1)
  return hyperplanes.fully_connected(x, z, jnp.arctan(y[:2]), curv)


def _busemann(x, y, curv):
  return hyperplanes.busemann(x, jnp.eye(x.size, dtype=x.dtype), curv)


def _mean(x, y, curv):
  points = jnp.stack([x, y, x])
  return means.frechet_mean(points, curv, jnp.ones_like(x[:3]))


def _variance(x, y, curv):
  return means.variance(jnp.stack([x, y]), x, curv)


def _log_prob(x, y, curv):
  return wrapped_normal.log_prob(x, y, jnp.ones_like(x), curv)


def _ball_transport(x, y, curv):
  return poincare.ptransp(x, y, x - y, curv)


def _rows(function, x, y, curv):
  return function(x[None], y[None], curv)


def _first(function, x, y, curv):
  return function(x, curv)


def _last(function, x, y, curv):
  return function(y, curv)


FUNCTIONS = {
  "time": functools.partial(_first, lorentz.time),
  "inner": lorentz.inner,
  "pairwise_inner": functools.partial(_rows, lorentz.pairwise_inner),
  "dist": lorentz.dist,
  "pairwise_dist": functools.partial(_rows, lorentz.pairwise_dist),
  "dist0": functools.partial(_last, lorentz.dist0),
  "logmap0": functools.partial(_last, lorentz.logmap0),
  "logmap": lorentz.logmap,
  "ptransp": _ptransp,
  "centroid": _centroid,
  "geodesic": _geodesic,
  "half_aperture": functools.partial(_last, lorentz.half_aperture),
  "exterior_angle": lorentz.exterior_angle,
  "pairwise_exterior_angle": functools.partial(
    _rows, lorentz.pairwise_exterior_angle
  ),
  "poincare.from_lorentz": functools.partial(_last, poincare.from_lorentz),
  "klein.from_lorentz": functools.partial(_last, klein.from_lorentz),
  "add": boosts.add,
  "gyration": _gyration,
  "logits": _logits,
  "busemann": _busemann,
  "frechet_variance": _variance,
}
# Exponentials of, and points of, a ball: not for the farthest pairs.
NEAR_FUNCTIONS = {
  "expmap0": functools.partial(_last, lorentz.expmap0),
  "expmap": _expmap,
  "poincare.to_lorentz": functools.partial(_last, poincare.to_lorentz),
  "poincare.dist": poincare.dist,
  "poincare.add": poincare.add,
  "poincare.logmap": poincare.logmap,
  "poincare.expmap": poincare.expmap,
  "poincare.ptransp": _ball_transport,
  "klein.to_lorentz": functools.partial(_last, klein.to_lorentz),
  "fully_connected": _fully_connected,
  "frechet_mean": _mean,
  "wrapped_normal": _log_prob,
}


@functools.cache
def _derivatives(function):
  """Value, gradient and one generic second derivative, by jit and vmap."""

  def scalar(x, y, curv):
    out = jnp.ravel(function(x, y, curv))
    return jnp.sum(out * jnp.arange(1, out.size + 1, dtype=out.dtype))

  def all_of_them(x, y, curv):
    # A derivative of the gradient in a direction without a zero is finite
    # only if every entry of the Hessian is.
    ramp = jnp.linspace(0.5, 1.5, x.size, dtype=x.dtype)
    return jax.jvp(
      jax.value_and_grad(scalar, (0, 1, 2)),
      (x, y, curv),
      (ramp, ramp[::-1], jnp.ones_like(curv)),
    )

  return jax.jit(
    jax.vmap(all_of_them, (0, 0, None)), compiler_options=_QUICK_COMPILE
  )


def _broken(function, x, y, curv, dtype):
  """Which rows of the pairs have a value or derivative that is not finite."""
  with jax.enable_x64(dtype == "float64"):
    arrays = (jnp.asarray(a, dtype) for a in (x, y, curv))
    leaves = jax.tree.leaves(_derivatives(function)(*arrays))
    bad = [~np.isfinite(a).reshape(len(x), -1).all(axis=-1) for a in leaves]
    return np.any(bad, axis=0)


@pytest.fixture(scope="module")
def grid(make_pair):
  """curv -> (pairs x, y, names): the grid, antipodal pairs, cone rims."""
  pairs = {}
  for curv in CURVS:
    rows = []
    for r, d, angle in itertools.product(RADII, DISTANCES, ANGLES):
      d = min(d, 18 - r)  # no point is farther out than that
      x, y = make_pair(curv, r, d, angle)
      rows.append((x[0], y[0], f"radius {r} distance {d} angle {angle:.2f}"))
    # Exactly on the ray, where the pairs above are off it by a rounding.
    for r, factor in itertools.product(RADII, (2.0, 0.5)):
      x, _ = make_pair(curv, r, 0.0, 0.0)
      rows.append((x[0], factor * x[0], f"radius {r} and {factor} times it"))
    for r in RADII:
      x, _ = make_pair(curv, r, 0.0, 0.0)
      rows.append((x[0], -x[0], f"radius {r} antipodal"))
    rim = np.zeros(5)
    rim[0] = 0.2 / np.sqrt(curv)
    rows.append((2 * rim, rim, "rim"))
    rows.append((rim, np.zeros(5), "rim to root"))
    assert len(rows) == GRID_ROWS
    pairs[curv] = tuple(map(np.stack, zip(*[r[:2] for r in rows], strict=True)))
    pairs[curv] += ([r[2] for r in rows],)
  return pairs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_finite_on_the_grid(name, dtype, grid):
  for curv, (x, y, names) in grid.items():
    bad = _broken(FUNCTIONS[name], x, y, curv, dtype)
    assert not bad.any(), (curv, np.asarray(names)[bad].tolist())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NEAR_FUNCTIONS)
def test_finite_on_the_near_grid(name, dtype, grid):
  # Tangent vectors of length 6 / sqrt(c) and less; for the ball, |p| < 1.
  reach = 0.99 if name.startswith(("poincare", "klein")) else 6.0
  for curv, (x, y, names) in grid.items():
    x, y = (_within(reach / np.sqrt(curv), a) for a in (x, y))
    bad = _broken(NEAR_FUNCTIONS[name], x, y, curv, dtype)
    assert not bad.any(), (curv, np.asarray(names)[bad].tolist())


def _within(length, x):
  norm = np.linalg.norm(x, axis=-1, keepdims=True)
  return x * np.minimum(1, length / np.maximum(norm, length))


small_or_large = st.one_of(
  st.just(0.0), st.floats(-6, 0.9).map(lambda e: 10**e)
)


@hypothesis.settings(
  max_examples=150, deadline=None, database=None, derandomize=True
)
@hypothesis.given(
  name=st.sampled_from(["dist", "exterior_angle", "logmap", "ptransp"]),
  dtype=st.sampled_from(DTYPES),
  curv=st.floats(0.1, 2.5),
  radius=small_or_large,
  distance=small_or_large,
  angle=st.floats(0, np.pi),
)
def test_finite_anywhere(make_pair, name, dtype, curv, radius, distance, angle):
  pair = make_pair(curv, radius, distance, angle)
  x, y = (np.repeat(a, GRID_ROWS, axis=0) for a in pair)
  assert not _broken(FUNCTIONS[name], x, y, curv, dtype).any()


# The published code, ported line by line.
def _naive_time(x, curv):
  return jnp.sqrt(1 / curv + jnp.sum(x**2, axis=-1))


def _naive_inner(x, y, curv):
  return jnp.sum(x * y) - _naive_time(x, curv) * _naive_time(y, curv)


def _naive_dist(x, y, curv):
  cosh = jnp.maximum(-curv * _naive_inner(x, y, curv), 1 + 1e-8)
  return jnp.arccosh(cosh) / curv**0.5


def _naive_expmap0(x, y, curv):
  r = curv**0.5 * jnp.linalg.norm(y)
  return jnp.sinh(jnp.clip(r, 1e-8, 11.0)) * y / jnp.maximum(r, 1e-8)


def _naive_logmap0(x, y, curv):
  cosh = jnp.maximum(curv**0.5 * _naive_time(y, curv), 1 + 1e-8)
  r = curv**0.5 * jnp.linalg.norm(y)
  return jnp.arccosh(cosh) * y / jnp.maximum(r, 1e-8)


def _naive_half_aperture(x, y, curv):
  sine = 0.2 / (jnp.linalg.norm(y) * curv**0.5 + 1e-8)
  return jnp.arcsin(jnp.clip(sine, -1 + 1e-8, 1 - 1e-8))


def _naive_exterior_angle(x, y, curv):
  c_xyl = curv * _naive_inner(x, y, curv)
  numerator = _naive_time(y, curv) + _naive_time(x, curv) * c_xyl
  sinh = jnp.sqrt(jnp.maximum(c_xyl**2 - 1, 1e-8))
  cosine = numerator / (jnp.linalg.norm(x) * sinh + 1e-8)
  return jnp.arccos(jnp.clip(cosine, -1 + 1e-8, 1 - 1e-8))


@pytest.mark.parametrize(
  ("naive", "below"),
  [
    (_naive_dist, 0.2),
    (_naive_expmap0, 0.01),
    (_naive_logmap0, 0.1),
    (_naive_half_aperture, 0.2),
    (_naive_exterior_angle, 0.2),
  ],
)
def test_a_literal_port_fails_these_checks(naive, below, grid):
  x, y, _ = grid[1.0]
  broken = _broken(naive, x, y, 1.0, "float32")
  assert broken.mean() > below
