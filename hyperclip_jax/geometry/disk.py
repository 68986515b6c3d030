"""The unit disk in which hyperbolic planes are drawn.

`geometry.poincare` has these functions, too.
"""

from jaxtyping import Complex, Float

from hyperclip_jax.geometry.numerics import Array, Scalar, namespace


def disk_radius(
  distance: float | Float[Array, "*batch"], curv: Scalar
) -> float | Float[Array, "*batch"]:
  """How far from the middle of the ball, scaled to radius 1, points lie.

  tanh(sqrt(c) d / 2).

  Args:
    distance: d, distances from the root.
    curv: c, where the curvature is -c.

  Returns:
    Numbers in [0, 1].

  Examples:
    >>> float(disk_radius(jnp.array(2.0), 1.0))  # tanh(1)
    0.7615...
  """
  xp = namespace(distance, curv)
  return xp.tanh(xp.sqrt(curv) * distance / 2)


def disk_distance(
  radius: float | Float[Array, "*batch"], curv: Scalar
) -> float | Float[Array, "*batch"]:
  """Distances from the root; inverse of `disk_radius`.

  Args:
    radius: numbers in [0, 1).
    curv: c, where the curvature is -c.

  Returns:
    2 artanh(radius) / sqrt(c).

  Examples:
    >>> float(disk_distance(jnp.array(0.5), 1.0))  # log(3)
    1.0986...
  """
  xp = namespace(radius, curv)
  return 2 * xp.arctanh(radius) / xp.sqrt(curv)


def translate(
  z: Complex[Array, "*#batch"], a: Complex[Array, "*#batch"] | complex
) -> Complex[Array, "*#batch"]:
  """Translates the unit disk, as complex numbers, so that 0 moves to a.

  The isometry is the Moebius map (z + a) / (1 + conj(a) z), which preserves
  geodesics and angles.

  Args:
    z: points of the disk.
    a: image of 0; -a moves a to 0.

  Returns:
    Points of the disk.

  Examples:
    >>> translate(jnp.array([0j, -0.5 + 0j]), 0.5 + 0j)
    Array([0.5+0.j, 0. +0.j], dtype=complex64)
  """
  return (z + a) / (1 + namespace(z, a).conj(a) * z)
