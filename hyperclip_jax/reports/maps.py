"""Maps of embeddings: a Poincare disk, or a plane of principal components."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.geometry import gaussian, poincare
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Lorentz, Space
from hyperclip_jax.reports.plots import FAINT, INK, KINDS, STYLE, Embeddings

# pairs general -> specific: the latter should lie in the cone of the former
EDGES = (
  ("text", "image"),
  ("box_text", "box_image"),
  ("box_image", "image"),
  ("box_text", "text"),
)
POINTS = 250  # points of a kind in a picture; more would overlap
RECORDS = 8  # records with edges drawn


def disk_coordinates(
  embeddings: Embeddings, space: Lorentz, plane: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], float]:
  """Maps hyperbolic points to the Poincare disk.

  The radius is exact, from `Lorentz.disk_radius`. The angle is approximate:
  that of the direction x / |x|, minus the mean direction, in the plane of its
  first two principal components.

  Args:
    embeddings: lifted points by kind.
    space: space of the embeddings.
    plane: kinds that choose the plane; all, if none is given.

  Returns:
    Points (rows, 2) by kind, and the fraction of the variance of the directions
    that the plane shows.
  """
  distances = norms.distances(space, embeddings)
  units = {kind: _unit(x) for kind, x in embeddings.items()}
  flat, share = _project(units, plane)
  points = {}
  for kind, z in flat.items():
    angle = np.arctan2(z[:, 1], z[:, 0])
    radius = space.disk_radius(distances[kind])
    points[kind] = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
  return points, share


def geodesic(ends: Sequence[np.ndarray]) -> Float[np.ndarray, "points 2"]:
  """Returns points on a geodesic of the Poincare disk, a circular arc.

  One end is moved to 0, where geodesics are straight, and back.
  """
  a, b = (np.array([complex(*end)]) for end in ends)
  straight = poincare.translate(b, -a) * np.linspace(0, 1, 33)
  arc = poincare.translate(straight, a)
  return np.stack([np.real(arc), np.imag(arc)], axis=1)


def positions(
  embeddings: Embeddings, space: Space, plane: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], float]:
  """Maps embeddings to the plane of `embedding_map`.

  Args:
    embeddings: lifted points by kind.
    space: space of the embeddings.
    plane: kinds that choose the plane; all, if none is given.

  Returns:
    Points (rows, 2) by kind, and the fraction of variance shown.
  """
  if isinstance(space, Lorentz):
    return disk_coordinates(embeddings, space, plane)
  if isinstance(space, Gaussian):
    embeddings = {kind: gaussian.means(x) for kind, x in embeddings.items()}
  return _project(embeddings, plane)


@matplotlib.rc_context(STYLE)
def embedding_map(
  embeddings: Embeddings, space: Space, plane: Sequence[str] = ()
) -> tuple[Figure, float]:
  """Draws embeddings in the plane, with entailment edges of a few records.

  Args:
    embeddings: lifted points by kind; row i of every kind belongs to record i.
    space: space of the embeddings. A hyperboloid is drawn as a Poincare disk,
      other spaces in the plane of principal components.
    plane: kinds that choose the plane; all, if none is given.

  Returns:
    Figure, and the fraction of variance that it shows.
  """
  points, share = positions(embeddings, space, plane)
  figure = Figure(figsize=(5, 5.2))
  axes = figure.subplots()
  axes.set_aspect("equal")
  axes.grid(visible=False)
  for kind, look in KINDS.items():
    if kind in points:
      every = max(1, -(-len(points[kind]) // POINTS))
      axes.scatter(
        *points[kind][::every].T,
        s=16,
        marker=look.marker,
        color=look.colour,
        alpha=0.5,
        linewidths=0,
        label=look.label,
      )
  if isinstance(space, Lorentz):
    _edges(axes, points, geodesic)
    disk_frame(axes, points, space)
  else:
    _edges(axes, points, np.stack)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
  legend = figure.legend(
    loc="outside upper center",
    ncols=4,
    columnspacing=1,
    handletextpad=0.1,
    markerscale=1.8,
  )
  for handle in filter(None, legend.legend_handles):
    handle.set_alpha(1)
  return figure, share


def _edges(axes, points, line):
  """Joins general to specific points of records all round the map."""
  rows = min(len(z) for z in points.values())
  first = next(iter(points.values()))[:rows]
  around = np.argsort(np.arctan2(first[:, 1], first[:, 0]), kind="stable")
  chosen = around[:: max(1, -(-rows // RECORDS))]
  for general, specific in EDGES:
    if general in points and specific in points:
      for i in chosen:
        path = line([points[general][i], points[specific][i]])
        axes.plot(*path.T, color=INK, linewidth=0.9, zorder=3)
  for kind, z in points.items():
    axes.scatter(
      *z[chosen].T,
      s=44,
      marker=KINDS[kind].marker,
      color=KINDS[kind].colour,
      edgecolors="white",
      linewidths=0.8,
      zorder=4,
    )


def disk_frame(axes, points, space):
  """Draws rings at round distances, and the edge of the disk if in view."""
  radii = np.linalg.norm(np.concatenate([*points.values()]), axis=1)
  furthest = np.nanmax(radii)
  shown = view(furthest)
  limit = 1.04 if shown == 1 else shown
  reach = space.disk_distance(min(furthest, 1 - 1e-6))
  for d in MaxNLocator(5).tick_values(0, reach + 1e-6)[1:]:
    r = space.disk_radius(d)
    if r < min(limit, 0.97):
      axes.add_patch(Circle((0, 0), r, fill=False, color=FAINT, zorder=0))
      label = f"{d:.3g}"
      axes.text(0, r, label, fontsize=9, color=INK, ha="center", va="bottom")
  axes.add_patch(Circle((0, 0), 1, fill=False, color=INK, zorder=0))
  axes.plot(0, 0, "+", color=INK, markersize=10)
  axes.annotate("root", (0, 0), (6, -12), textcoords="offset points")
  axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
  axes.set_axis_off()


def view(furthest: float) -> float:
  """Chooses how much of the Poincare disk to draw.

  Args:
    furthest: radius of the point that is farthest from the root.

  Returns:
    Radius of what is drawn: a little more than that of the points or, where
    arcs of the rim would show in the corners, 1 for the whole disk.
  """
  return 1.0 if furthest > 0.6 else 1.15 * furthest + 1e-6


def _unit(x):
  norm = np.linalg.norm(x, axis=1, keepdims=True)
  return x / np.where(norm == 0, 1, norm)


def _project(
  rows: Embeddings, plane: Sequence[str]
) -> tuple[dict[str, np.ndarray], float]:
  """Projects all kinds on the first two principal components of some."""
  chosen = [x for kind, x in rows.items() if kind in plane or not plane]
  everything = np.concatenate(chosen).astype(np.float64)
  everything = everything[np.isfinite(everything).all(axis=1)]
  mean = everything.mean(axis=0)
  variance, axes = np.linalg.eigh(np.cov(everything.T, bias=True))
  axes = axes[:, [-1, -2]]
  # fixes the sign of an eigenvector, which is arbitrary
  axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
  share = variance[-2:].sum() / max(variance.sum(), 1e-30)
  return {kind: (x - mean) @ axes for kind, x in rows.items()}, float(share)
