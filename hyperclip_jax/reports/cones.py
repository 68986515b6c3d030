"""Draws entailment cones, exact in the plane that each figure shows.

The root, a phrase and a picture span a hyperbolic plane. In its Poincare disk
the root is the middle, geodesics are circular arcs and angles are exact, so a
picture is drawn inside a cone if and only if it is in it.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Complex
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from hyperclip_jax.geometry.poincare import translate
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.inference.explore import Cone
from hyperclip_jax.reports.markup import shortened
from hyperclip_jax.reports.plots import FAINT, INK, KINDS, STYLE

COLUMNS = 4
TITLE = 28  # characters of a phrase that fit
RIM = 0.9999


@matplotlib.rc_context(STYLE)
def cones(found: Sequence[Cone], space: Lorentz) -> Figure:
  """Draws a small disk for each cone, shaded where the phrase entails.

  Args:
    found: cones, at least one.
    space: space of the embeddings.

  Returns:
    Figure.
  """
  rows = -(-len(found) // COLUMNS)
  figure = Figure(figsize=(10, 2.9 * rows))
  grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
  for axes in grid:
    axes.set_axis_off()
  for axes, cone in zip(grid, found, strict=False):
    _draw(axes, cone, space)
  return figure


def _draw(axes, cone: Cone, space: Lorentz) -> None:
  inside = cone.margin <= 0
  text, image = KINDS["text"], KINDS["image"]
  axes.set_aspect("equal")
  axes.add_patch(Circle((0, 0), 1, fill=False, color=FAINT))
  edge = outline(cone.apex, cone.aperture, space)
  axes.fill(
    np.real(edge),
    np.imag(edge),
    color=text.colour,
    alpha=0.3 if inside else 0.12,
  )
  points = {
    "root": 0j,
    "phrase": space.disk_radius(cone.apex) + 0j,
    "picture": space.disk_radius(cone.picture) * np.exp(1j * cone.between),
  }
  for end in ("phrase", "picture"):
    z = points[end]
    axes.plot([0, z.real], [0, z.imag], color=INK, linewidth=0.9)
  axes.plot(0, 0, "+", color=INK, markersize=8)
  for name, look in (("phrase", text), ("picture", image)):
    z = points[name]
    axes.scatter(
      z.real,
      z.imag,
      s=60,
      marker=look.marker,
      color=look.colour,
      edgecolors="white",
      linewidths=0.8,
      zorder=4,
    )
  axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03))
  degrees = abs(np.degrees(cone.margin))
  verdict = "inside by" if inside else "outside by"
  axes.set_title(
    f"{shortened(cone.phrase, TITLE)}\n{verdict} {degrees:.0f}°",
    fontsize=10,
    color=INK if inside else "#6b7280",
    fontweight="bold" if inside else "normal",
  )


def outline(
  apex: float, aperture: float, space: Lorentz
) -> Complex[np.ndarray, "points"]:
  """Computes the border of a cone in the disk; its axis points to the right.

  Rays from the apex are straight in the disk that has it in the middle, which
  is then moved to put the root there.

  Args:
    apex: distance of the apex from the root.
    aperture: half the opening in radians.
    space: space of the cone.

  Returns:
    Points x + iy of the unit disk.
  """
  ray = RIM * np.linspace(0, 1, 64)
  turn = np.linspace(-aperture, aperture, 129)
  around = [ray * np.exp(-1j * aperture), RIM * np.exp(1j * turn)]
  around.append(ray[::-1] * np.exp(1j * aperture))
  middle = complex(space.disk_radius(apex))
  return translate(np.concatenate(around), middle)
