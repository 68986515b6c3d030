"""Pairs of points whose distance and exterior angle are known beforehand."""

from collections.abc import Callable

import numpy as np
import pytest


def _make_pair(
  curv: float,
  radius: float,
  distance: float,
  angle: float,
  dim: int = 5,
  count: int = 1,
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """`count` pairs in float64 by hyperbolic trigonometry, in random planes.

  x is at `radius` from the root, and the geodesic to y leaves it at `angle`
  to the outward ray and is `distance` long; all three in units of length.
  """
  normal = np.random.default_rng(seed).normal(size=(count, dim, 2))
  plane = np.linalg.qr(normal)[0]
  rc = np.sqrt(curv)
  a, b = rc * radius, rc * distance
  # sinh(a) cosh(b) + cosh(a) sinh(b) cos(angle), kept exact on the ray.
  along = np.sinh(a + b) - 2 * np.cosh(a) * np.sinh(b) * np.sin(angle / 2) ** 2
  if angle == np.pi:
    along = np.sinh(a - b)
  across = 0.0 if angle == np.pi else np.sinh(b) * np.sin(angle)
  x = np.sinh(a) / rc * plane[..., 0]
  y = (along * plane[..., 0] + across * plane[..., 1]) / rc
  return x, y


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
  """make_pair(curv, radius, distance, angle, dim=5, count=1, seed=0)."""
  return _make_pair


@pytest.fixture(scope="module", autouse=True)
def compiled_as_for_users(optimized):
  """Roundings are those of the programs that users have."""
