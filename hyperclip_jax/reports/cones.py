"""Draws entailment cones, exact in the plane that each figure shows.

The root, a phrase and a picture span a hyperbolic plane. In its Poincare disk
the root is the middle, geodesics are circular arcs and angles are exact, so a
picture is drawn inside a cone if and only if it is in it. Where all points
lie near the root, the part around it is drawn.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Complex, Float
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from hyperclip_jax.geometry.poincare import translate
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.inference.explore import Cone
from hyperclip_jax.reports import maps
from hyperclip_jax.reports.markup import shortened
from hyperclip_jax.reports.plots import FAINT, INK, KINDS, STYLE

COLUMNS = 4
WIDTH, HEIGHT = 2.5, 2.9  # inches of a disk with its title
UNIT = 1.12  # inches of a disk's radius
TITLE = 28  # characters of a phrase that fit
RIM = 0.9999


@matplotlib.rc_context(STYLE)
def cones(found: Sequence[Cone], space: Lorentz) -> Figure:
  """Draws a small disk for each cone, shaded where the phrase entails.

  All disks lie in the same axes: each further axes would take longer than its
  disk.

  Args:
    found: cones, at least one.
    space: space of the embeddings.

  Returns:
    Figure.
  """
  view = border(found, space)
  rows = -(-len(found) // COLUMNS)
  size = COLUMNS * WIDTH, rows * HEIGHT
  figure = Figure(figsize=size)
  figure.set_layout_engine("none")
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  axes.set(xlim=(0, size[0] / UNIT), ylim=(-size[1] / UNIT, 0))
  row, column = np.divmod(np.arange(len(found)), COLUMNS)
  middles = ((column + 0.5) * WIDTH - 1j * ((row + 1) * HEIGHT)) / UNIT + 1.02j
  phrases = middles + [space.disk_radius(cone.apex) / view for cone in found]
  pictures = middles + [
    space.disk_radius(cone.picture) / view * np.exp(1j * cone.between)
    for cone in found
  ]
  inside = [cone.margin <= 0 for cone in found]
  edges = [
    _xy(within(outline(cone.apex, cone.aperture, space), view) + middle)
    for cone, middle in zip(found, middles, strict=True)
  ]
  colour = KINDS["text"].colour
  shades = [to_rgba(colour, 0.3 if own else 0.12) for own in inside]
  axes.add_collection(PolyCollection(edges, facecolors=shades, linewidths=0))
  turn = np.exp(2j * np.pi * np.linspace(0, 1, 181))
  rims = [_xy(middle + turn) for middle in middles]
  axes.add_collection(LineCollection(rims, colors=FAINT, linewidths=1))
  for ends, kind in ((phrases, "text"), (pictures, "image")):
    lines = [*_xy(np.stack([middles, ends], axis=1))]
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.9))
    axes.scatter(
      *_xy(ends).T,
      s=60,
      marker=KINDS[kind].marker,
      color=KINDS[kind].colour,
      edgecolors="white",
      linewidths=0.8,
      zorder=4,
    )
  axes.plot(*_xy(middles).T, "+", color=INK, markersize=8)
  for cone, own, middle in zip(found, inside, middles, strict=True):
    verdict = "inside by" if own else "outside by"
    degrees = abs(np.degrees(cone.margin))
    axes.text(
      middle.real,
      middle.imag + 1.08,
      f"{shortened(cone.phrase, TITLE)}\n"
      f"{verdict} {degrees:.{int(degrees < 1)}f}°",
      fontsize=10,
      ha="center",
      color=INK if own else "#6b7280",
      fontweight="bold" if own else "normal",
    )
  return figure


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
  ray = RIM * np.linspace(0, 1, 64) ** 2  # also fine near the apex
  turn = np.linspace(-aperture, aperture, 129)
  around = [ray * np.exp(-1j * aperture), RIM * np.exp(1j * turn)]
  around.append(ray[::-1] * np.exp(1j * aperture))
  middle = complex(space.disk_radius(apex))
  return translate(np.concatenate(around), middle)


def border(found: Sequence[Cone], space: Lorentz) -> float:
  """Finds the radius up to which all disks are drawn; see `maps.view`.

  Args:
    found: cones, at least one.
    space: space of the embeddings.

  Returns:
    Radius in the unit disk, at most 1.
  """
  reach = max(max(cone.apex, cone.picture) for cone in found)
  return maps.view(float(space.disk_radius(reach)))


def within(
  z: Complex[np.ndarray, "points"], radius: float
) -> Complex[np.ndarray, "points"]:
  """Cuts the outline of a cone off at a circle, and scales that to radius 1.

  A ray that has left the circle stays outside, so what lies outside is moved
  onto it.

  Args:
    z: points of the unit disk.
    radius: radius of the circle, whose centre is the root.

  Returns:
    Points of the unit disk.
  """
  return z / np.maximum(np.abs(z), radius)


def _xy(z: Complex[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows 2"]:
  return np.stack([np.real(z), np.imag(z)], axis=-1)
